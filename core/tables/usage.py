"""What finished jobs used."""

from sqlalchemy import Column, Date, Numeric, SmallInteger, Table, Text, Uuid, text

from core.tables.columns import metadata, tally

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
    tally("jobs"),
    tally("failed"),
    tally("input_tokens"),
    tally("output_tokens"),
    tally("cached_tokens"),
    tally("saved_tokens"),
    Column("cost_usd", Numeric, nullable=False, server_default=text("0")),
    tally("unpriced_jobs"),
)
