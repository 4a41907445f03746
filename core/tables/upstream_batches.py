"""Jobs that wait for an upstream's Batch API."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.columns import metadata, moment

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
    moment("lease_until", nullable=True),
    moment("next_look_at", default=True),
    moment("created_at", default=True),
    moment("submitted_at", nullable=True),
    moment("ended_at", nullable=True),
    Index("upstream_batches_collecting_idx", "deployment", unique=True, postgresql_where=text("state = 'collecting'")),
    Index("upstream_batches_next_look_at_idx", "next_look_at", postgresql_where=text("state <> 'settled'")),
    Index("upstream_batches_ended_at_idx", "ended_at", postgresql_where=text("ended_at is not null")),
    CheckConstraint("state in ('collecting','filled','uploaded','submitted','ended','settled')", name="state"),
    CheckConstraint("(state in ('ended','settled')) = (outcome is not null)", name="outcome"),
    CheckConstraint("(outcome is null) = (ended_at is null)", name="ended_at"),
    CheckConstraint("state <> 'submitted' or (upstream_id is not null and submitted_at is not null)", name="submitted"),
)
