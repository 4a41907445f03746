"""Which API and worker processes there are, and what each says of itself."""

from sqlalchemy import ARRAY, CheckConstraint, Column, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.columns import metadata, moment

processes = Table(
    "processes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("lanes", ARRAY(Text), nullable=False),
    moment("started_at", default=True),
    moment("lease_until"),
    Column("metrics", Text),
    Column("health", JSONB),
    CheckConstraint("kind in ('api','worker','upstream_batch')", name="kind"),
)
