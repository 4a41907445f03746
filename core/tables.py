"""The tables, as the code sees them. Migrations build them; a test compares the two.

``jobs``, ``attempts`` and ``job_events`` are partitioned by ranges of the UUIDv7 job id, so that old weeks leave by being
dropped. ``ready``, ``waiting``, ``held_back`` and ``running`` are narrow: every queued or running job stands in exactly one of
them, and the queue's hot paths never touch a job body to find work.
"""

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
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


def _tally(name: str) -> Column[object]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _count(name: str) -> Column[object]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


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
    # Limits and budgets: null is none. They hold for all keys of the tenant together.
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", BigInteger),
    Column("max_in_flight", Integer),
    Column("max_queued", Integer),
    Column("budget_day_usd", Numeric),
    Column("budget_month_usd", Numeric),
    CheckConstraint("weight > 0", name="weight"),
    CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
    CheckConstraint("tokens_per_minute > 0", name="tokens_per_minute"),
    CheckConstraint("max_in_flight > 0", name="max_in_flight"),
    CheckConstraint("max_queued > 0", name="max_queued"),
    CheckConstraint("budget_day_usd >= 0", name="budget_day_usd"),
    CheckConstraint("budget_month_usd >= 0", name="budget_month_usd"),
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
    Column("tokens_per_minute", BigInteger),
    Column("max_in_flight", Integer),
    Column("max_queued", Integer),
    Column("budget_day_usd", Numeric),
    Column("budget_month_usd", Numeric),
    CheckConstraint("octet_length(token_hash) = 32", name="sha256"),
    CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
    CheckConstraint("tokens_per_minute > 0", name="tokens_per_minute"),
    CheckConstraint("max_in_flight > 0", name="max_in_flight"),
    CheckConstraint("max_queued > 0", name="max_queued"),
    CheckConstraint("budget_day_usd >= 0", name="budget_day_usd"),
    CheckConstraint("budget_month_usd >= 0", name="budget_month_usd"),
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
    # The model whose queue the job stands in, where it is not the model that was asked for ("auto", an alias); else null.
    Column("route_model", Text),
    Column("key_id", Uuid),
    Column("concurrency_key", Text),
    Column("concurrency_limit", Integer),
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
    CheckConstraint("(concurrency_key is null) = (concurrency_limit is null)", name="concurrency"),
    CheckConstraint("concurrency_limit between 1 and 10000", name="concurrency_limit"),
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
    Column("key_id", Uuid),
    Column("concurrency_key", Text),
    Index("ready_turn_idx", "lane", "model", "tag", "job_id"),
    Index("ready_tenant_idx", "lane", "model", "tenant_id", text("priority desc"), "job_id"),
    Index("ready_expires_at_idx", "expires_at", postgresql_where=text("expires_at is not null")),
    Index(
        "ready_concurrency_key_idx",
        "tenant_id",
        "concurrency_key",
        postgresql_where=text("concurrency_key is not null"),
    ),
)

waiting = Table(
    "waiting",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False, index=True),
    _moment("run_at"),
    Column("key_id", Uuid),
    Index("waiting_run_at_idx", "run_at"),
)

# Jobs that could start but for their concurrency key: as many of the key as its limit allows are ready or running.
held_back = Table(
    "held_back",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("key_id", Uuid),
    Column("concurrency_key", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("body_bytes", Integer, nullable=False),
    _moment("entered_at", default=True),
    _moment("expires_at", nullable=True),
    Index("held_back_turn_idx", "tenant_id", "concurrency_key", text("priority desc"), "job_id"),
    Index("held_back_expires_at_idx", "expires_at", postgresql_where=text("expires_at is not null")),
)

# One row for each key in use: its limit, named by the newest job, and the lock under which its jobs are let in.
concurrency_keys = Table(
    "concurrency_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("max_active", Integer, nullable=False),
    Column("named_by", Uuid, nullable=False),
    _moment("used_at", default=True),
    CheckConstraint("max_active between 1 and 10000", name="max_active"),
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
    Column("key_id", Uuid),
    Column("concurrency_key", Text),
    Index(
        "running_concurrency_key_idx",
        "tenant_id",
        "concurrency_key",
        postgresql_where=text("concurrency_key is not null"),
    ),
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

# What finished jobs used, by the UTC day of their finish. Readers sum over slots, which only keep writers from queueing up.
usage_days = Table(
    "usage_days",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    # All zeros where no key handed the job in.
    Column("key_id", Uuid, primary_key=True, server_default=text("'00000000-0000-0000-0000-000000000000'")),
    Column("model", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("slot", SmallInteger, primary_key=True, server_default=text("0")),
    _tally("jobs"),
    _tally("failed"),
    _tally("input_tokens"),
    _tally("output_tokens"),
    _tally("cached_tokens"),
    _tally("saved_tokens"),
    Column("cost_usd", Numeric, nullable=False, server_default=text("0")),
    _tally("unpriced_jobs"),
)

# What caches did for the jobs of an hour (UTC). Readers sum over slots, as in usage_days.
cache_hours = Table(
    "cache_hours",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("slot", SmallInteger, primary_key=True, server_default=text("0")),
    _tally("hits"),
    _tally("misses"),
    _tally("coalesced"),
    _tally("refreshed"),
    _tally("saved_tokens"),
    Column("saved_usd", Numeric, nullable=False, server_default=text("0")),
    Column("saved_ms", Double, nullable=False, server_default=text("0")),
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
    CheckConstraint("kind in ('api','worker','upstream_batch')", name="kind"),
)

# Jobs handed to an upstream's Batch API together; `running.process_id` names the batch that holds a job.
upstream_batches = Table(
    "upstream_batches",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("deployment", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text),
    Column("state", Text, nullable=False, server_default=text("'collecting'")),
    Column("jobs", Integer, nullable=False, server_default=text("0")),
    Column("file_id", Text),
    Column("upstream_id", Text),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("outcome", Text),
    Column("error", JSONB),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("leased_by", Uuid),
    _moment("lease_until", nullable=True),
    _moment("next_look_at", default=True),
    _moment("created_at", default=True),
    _moment("submitted_at", nullable=True),
    _moment("ended_at", nullable=True),
    Index("upstream_batches_collecting_idx", "deployment", unique=True, postgresql_where=text("state = 'collecting'")),
    Index("upstream_batches_next_look_at_idx", "next_look_at", postgresql_where=text("state <> 'settled'")),
    Index("upstream_batches_ended_at_idx", "ended_at", postgresql_where=text("ended_at is not null")),
    CheckConstraint("state in ('collecting','filled','uploaded','submitted','ended','settled')", name="state"),
    CheckConstraint("(state in ('ended','settled')) = (outcome is not null)", name="outcome"),
    CheckConstraint("(outcome is null) = (ended_at is null)", name="ended_at"),
    CheckConstraint("state <> 'submitted' or (upstream_id is not null and submitted_at is not null)", name="submitted"),
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

# What is to be done when. next_run_at is when somebody has to look next: null while paused.
schedules = Table(
    "schedules",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("key_id", Uuid),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("template", JSON, nullable=False),
    # JSON and not JSONB: the order of its members is the order of the jobs.
    Column("matrix", JSON),
    Column("budget", JSON),
    Column("ttl_s", Double),
    Column("refresh_before_s", Double),
    _moment("next_run_at", nullable=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _moment("created_at", default=True),
    _moment("updated_at", default=True),
    Index("schedules_tenant_id_id_idx", "tenant_id", "id"),
    Index("schedules_next_run_at_idx", "next_run_at", postgresql_where=text("next_run_at is not null")),
    CheckConstraint("kind in ('jobs','prewarm','keep_warm')", name="kind"),
    CheckConstraint("not paused or next_run_at is null", name="paused"),
)

# One firing of a schedule. The group of its jobs has the same id: it counts down with the jobs, and its last job ends the run.
schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("schedule_id", Uuid, ForeignKey("schedules.id", ondelete="CASCADE"), nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    _moment("slot"),
    Column("trigger", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    _count("missed"),
    _count("planned"),
    # The first combination that is not yet decided upon.
    _count("next_index"),
    _count("skipped_fresh"),
    _count("submitted"),
    _count("over_budget"),
    _count("succeeded"),
    _count("failed"),
    _count("cancelled"),
    _tally("tokens"),
    Column("cost_usd", Numeric),
    # What the run expands, as the schedule was when it fired; null once it has ended.
    Column("plan", JSON),
    # When a worker has to look next: null once there is nothing to do but wait for the jobs.
    _moment("next_look_at", nullable=True),
    # Of keep_warm: the end of the window.
    _moment("ends_at", nullable=True),
    _moment("created_at", default=True),
    _moment("finished_at", nullable=True),
    Index(
        "schedule_runs_slot_idx",
        "schedule_id",
        "slot",
        unique=True,
        postgresql_where=text("trigger <> 'manual'"),
    ),
    Index("schedule_runs_running_idx", "schedule_id", unique=True, postgresql_where=text("status = 'running'")),
    Index("schedule_runs_schedule_id_id_idx", "schedule_id", "id"),
    Index("schedule_runs_next_look_at_idx", "next_look_at", postgresql_where=text("next_look_at is not null")),
    CheckConstraint("trigger in ('cron','catch_up','manual')", name="trigger"),
    CheckConstraint("status in ('running','completed','cancelled','skipped')", name="status"),
    CheckConstraint("(status = 'running') = (finished_at is null)", name="finished_at"),
    CheckConstraint("next_index between 0 and planned", name="next_index"),
)
