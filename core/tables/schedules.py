"""Schedules and their firings."""

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
    text,
)

from core.tables.columns import count, metadata, moment, tally

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
    moment("next_run_at", nullable=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    moment("created_at", default=True),
    moment("updated_at", default=True),
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
    moment("slot"),
    Column("trigger", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    count("missed"),
    count("planned"),
    # The first combination that is not yet decided upon.
    count("next_index"),
    count("skipped_fresh"),
    count("submitted"),
    count("over_budget"),
    count("succeeded"),
    count("failed"),
    count("cancelled"),
    tally("tokens"),
    Column("cost_usd", Numeric),
    # What the run expands, as the schedule was when it fired; null once it has ended.
    Column("plan", JSON),
    # Of a learned prewarm: what was chosen and why; null until then.
    Column("choices", JSON),
    # When a worker has to look next: null once there is nothing to do but wait for the jobs.
    moment("next_look_at", nullable=True),
    # Of keep_warm: the end of the window.
    moment("ends_at", nullable=True),
    moment("created_at", default=True),
    moment("finished_at", nullable=True),
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
