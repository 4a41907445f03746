"""What the caches keep in Postgres.

Not here is ``semantic_entries``, the vectors of the semantic cache: it is made only where the server has pgvector, and every
statement on it is a file of ``core/store/sql``.
"""

from sqlalchemy import Boolean, Column, DateTime, Double, Index, Numeric, SmallInteger, Table, Text, Uuid, text

from core.tables.columns import metadata, moment, tally

# What caches did for the jobs of an hour (UTC). Readers sum over slots, as in usage_days.
cache_hours = Table(
    "cache_hours",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("slot", SmallInteger, primary_key=True, server_default=text("0")),
    tally("hits"),
    tally("misses"),
    tally("coalesced"),
    tally("refreshed"),
    tally("saved_tokens"),
    Column("saved_usd", Numeric, nullable=False, server_default=text("0")),
    Column("saved_ms", Double, nullable=False, server_default=text("0")),
    tally("semantic_hits"),
    # Jobs that were spared a call whose price nobody knows: saved_usd is what was saved at least.
    tally("unpriced"),
)

# Near hits that were not served: what the guard said, and how far the kept answer agreed with the one that came.
semantic_shadow = Table(
    "semantic_shadow",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("embedder", Text, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("similarity", Double, nullable=False),
    Column("guard", Text),
    Column("kept_question", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("same", Boolean, nullable=False),
    Column("answers_cosine", Double),
    moment("created_at", default=True),
    Index("semantic_shadow_tenant_id_id_idx", "tenant_id", "id"),
)
