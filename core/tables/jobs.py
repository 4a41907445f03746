"""Jobs, whole, and what is kept about each: its group, attempts, events, and the idempotency key it came under.

``jobs``, ``attempts`` and ``job_events`` are partitioned by ranges of the UUIDv7 job id, so that old weeks leave by being
dropped.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.columns import metadata, moment

groups = Table(
    "groups",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("total", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    moment("created_at", default=True),
    moment("finished_at", nullable=True),
    moment("cancelled_at", nullable=True),
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
    moment("created_at"),
    moment("run_at"),
    moment("expires_at"),
    moment("started_at", nullable=True),
    moment("finished_at", nullable=True),
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
    Index("jobs_schedule_id_id_idx", "schedule_id", "id", postgresql_where=text("schedule_id is not null")),
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

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("lease_no", Integer, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("process_id", Uuid, nullable=False),
    Column("deployment", Text),
    moment("started_at"),
    moment("finished_at", default=True),
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
    moment("created_at", default=True),
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
    moment("created_at", default=True),
    Index("idempotency_keys_created_at_idx", "created_at"),
)
