"""Where unfinished jobs stand, and whose turn it is.

``ready``, ``waiting``, ``held_back`` and ``running`` are narrow: every queued or running job stands in exactly one of them,
and the queue's hot paths never touch a job body to find work.
"""

from sqlalchemy import CheckConstraint, Column, Double, Index, Integer, SmallInteger, Table, Text, Uuid, text

from core.tables.columns import metadata, moment

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
    moment("entered_at", default=True),
    # Null once the job has started before: such a job no longer expires.
    moment("expires_at", nullable=True),
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
    moment("run_at"),
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
    moment("entered_at", default=True),
    moment("expires_at", nullable=True),
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
    moment("used_at", default=True),
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
    moment("claimed_at", default=True),
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
