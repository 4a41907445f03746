"""The tables, as the code sees them. Migrations build them; a test compares the two.

``jobs``, ``attempts`` and ``job_events`` are partitioned by ranges of the UUIDv7 job id, so that old weeks leave by being
dropped. ``ready``, ``waiting`` and ``running`` are narrow: every queued or running job stands in exactly one of them, and the
queue's hot paths never touch a job body to find work.
"""

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

_NOW = text("now()")


def _moment(name: str, *, nullable: bool = False, default: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=_NOW if default else None)


tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("weight", Numeric, nullable=False, server_default=text("1")),
    Column("webhook_secret_encrypted", LargeBinary, nullable=False),
    Column("old_webhook_secret_encrypted", LargeBinary),
    _moment("old_webhook_secret_until", nullable=True),
    _moment("created_at", default=True),
    CheckConstraint("weight > 0", name="weight"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("requests_per_minute", Integer),
    _moment("created_at", default=True),
    _moment("revoked_at", nullable=True),
    CheckConstraint("octet_length(token_hash) = 32", name="sha256"),
    CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
)

groups = Table(
    "groups",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("total", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    _moment("created_at", default=True),
    _moment("finished_at", nullable=True),
    _moment("cancelled_at", nullable=True),
    Index("groups_tenant_id_id_idx", "tenant_id", "id"),
    CheckConstraint("remaining between 0 and total", name="remaining"),
    CheckConstraint("(remaining = 0) = (finished_at is not null)", name="finished"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("webhook", JSONB),
    Column("cache_options", JSONB),
    Column("group_id", Uuid),
    Column("schedule_id", Uuid),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("lease_no", Integer, nullable=False, server_default=text("0")),
    Column("timeout_s", Double, nullable=False),
    Column("ttl_s", Double, nullable=False),
    _moment("created_at"),
    _moment("run_at"),
    _moment("expires_at"),
    _moment("started_at", nullable=True),
    _moment("finished_at", nullable=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("event_seq", Integer, nullable=False, server_default=text("1")),
    Column("result", JSON),
    Column("error", JSONB),
    Column("usage", JSONB),
    Column("cost_usd", Numeric),
    Column("route", JSONB),
    Column("cache", JSONB),
    Column("timing", JSONB),
    Column("request_id", Text),
    Column("traceparent", Text),
    Index("jobs_tenant_id_id_idx", "tenant_id", "id"),
    Index("jobs_group_id_id_idx", "group_id", "id", postgresql_where=text("group_id is not null")),
    Index(
        "jobs_metadata_idx",
        "metadata",
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
        postgresql_where=text("metadata <> '{}'::jsonb"),
    ),
    CheckConstraint("status in ('queued','running','succeeded','failed','cancelled','expired')", name="status"),
    CheckConstraint(
        "(status in ('succeeded','failed','cancelled','expired')) = (finished_at is not null)", name="finished_at"
    ),
    CheckConstraint("status <> 'running' or started_at is not null", name="started_at"),
    CheckConstraint("(status = 'succeeded') = (result is not null)", name="result"),
    CheckConstraint("(status = 'failed') = (error is not null)", name="error"),
    CheckConstraint("priority between 0 and 9", name="priority"),
    CheckConstraint("lane in ('interactive','default','bulk','prewarm')", name="lane"),
    CheckConstraint("attempts between 0 and lease_no", name="attempts"),
    CheckConstraint("run_at <= expires_at", name="expires_at"),
    postgresql_partition_by="RANGE (id)",
)

ready = Table(
    "ready",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("lane", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("tag", Double, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("body_bytes", Integer, nullable=False),
    _moment("entered_at", default=True),
    # Null once the job has started before: such a job no longer expires.
    _moment("expires_at", nullable=True),
    Index("ready_turn_idx", "lane", "model", "tag", "job_id"),
    Index("ready_tenant_idx", "lane", "model", "tenant_id", text("priority desc"), "job_id"),
    Index("ready_expires_at_idx", "expires_at", postgresql_where=text("expires_at is not null")),
)

waiting = Table(
    "waiting",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    _moment("run_at"),
    Index("waiting_run_at_idx", "run_at"),
)

running = Table(
    "running",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("lane", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("lease_no", Integer, nullable=False),
    Column("process_id", Uuid, nullable=False, index=True),
    Column("deployment", Text),
    Column("batch_size", Integer),
    _moment("claimed_at", default=True),
)

lane_clocks = Table(
    "lane_clocks",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("virtual_time", Double, nullable=False, server_default=text("0")),
)

tenant_turns = Table(
    "tenant_turns",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("tenant_id", Uuid, primary_key=True),
    Column("finish_tag", Double, nullable=False),
)

processes = Table(
    "processes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("lanes", ARRAY(Text), nullable=False),
    _moment("started_at", default=True),
    _moment("lease_until"),
    Column("metrics", Text),
    Column("health", JSONB),
    CheckConstraint("kind in ('api','worker')", name="kind"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("lease_no", Integer, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("process_id", Uuid, nullable=False),
    Column("deployment", Text),
    _moment("started_at"),
    _moment("finished_at", default=True),
    Column("outcome", Text, nullable=False),
    Column("error", JSONB),
    Column("ttft_ms", Double),
    Column("batch_size", Integer),
    Column("usage", JSONB),
    Column("cost_usd", Numeric),
    CheckConstraint("outcome in ('succeeded','failed','retried','cancelled','lost','handed_back')", name="outcome"),
    postgresql_partition_by="RANGE (job_id)",
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True),
    # A chunk of deltas is one row: seq is its first number, last_seq its last.
    Column("last_seq", Integer, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSON),
    _moment("created_at", default=True),
    CheckConstraint("last_seq >= seq", name="last_seq"),
    postgresql_partition_by="RANGE (job_id)",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("object_id", Uuid, nullable=False),
    _moment("created_at", default=True),
    Index("idempotency_keys_created_at_idx", "created_at"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_reason", Text),
    Column("secret_encrypted", LargeBinary, nullable=False),
    Column("secret_hint", Text, nullable=False),
    Column("old_secret_encrypted", LargeBinary),
    _moment("old_secret_until", nullable=True),
    _moment("created_at", default=True),
    Index("webhook_endpoints_tenant_id_id_idx", "tenant_id", "id"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("job_id", Uuid),
    Column("group_id", Uuid),
    Column("payload", Text, nullable=False),
    Column("traceparent", Text),
    _moment("created_at", default=True),
    Index("webhook_events_job_id_idx", "job_id", postgresql_where=text("job_id is not null")),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, ForeignKey("webhook_events.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid),
    Column("url", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    # What takes turns and is limited: a registered endpoint, or the host of a job's own webhook URL.
    Column(
        "target",
        Uuid,
        Computed(
            "coalesce(endpoint_id, md5(tenant_id::text || coalesce(substring(url from '^[a-z]+://[^/?#]+'), ''))::uuid)",
            persisted=True,
        ),
        nullable=False,
    ),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    _moment("next_try_at", nullable=True, default=True),
    Column("lease_no", Integer, nullable=False, server_default=text("0")),
    Column("leased_by", Uuid),
    _moment("lease_until", nullable=True),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("last_duration_ms", Double),
    _moment("created_at", default=True),
    _moment("delivered_at", nullable=True),
    Index("webhook_deliveries_tenant_id_id_idx", "tenant_id", "id"),
    Index("webhook_deliveries_due_idx", "target", "next_try_at", postgresql_where=text("status = 'pending'")),
    # For the sweep's glance: is anything due at all, however many wait for later tries.
    Index("webhook_deliveries_next_try_at_idx", "next_try_at", postgresql_where=text("status = 'pending'")),
    Index("webhook_deliveries_in_flight_idx", "target", postgresql_where=text("status = 'sending'")),
    Index("webhook_deliveries_sending_idx", "lease_until", postgresql_where=text("status = 'sending'")),
    Index(
        "webhook_deliveries_endpoint_id_idx", "endpoint_id", postgresql_where=text("status in ('pending','sending')")
    ),
    CheckConstraint("status in ('pending','sending','delivered','exhausted','cancelled')", name="status"),
    CheckConstraint("(status = 'delivered') = (delivered_at is not null)", name="delivered_at"),
    CheckConstraint("(status = 'sending') = (lease_until is not null)", name="lease_until"),
)
