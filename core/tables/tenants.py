"""Who may ask: tenants and their API keys, with the limits and budgets of both."""

from collections.abc import Iterator

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.columns import metadata, moment


def _limits() -> Iterator[Column[object] | CheckConstraint]:
    """Limits and budgets: null is none."""
    yield Column("requests_per_minute", Integer)
    yield Column("tokens_per_minute", BigInteger)
    yield Column("max_in_flight", Integer)
    yield Column("max_queued", Integer)
    yield Column("budget_day_usd", Numeric)
    yield Column("budget_month_usd", Numeric)
    for name in ("requests_per_minute", "tokens_per_minute", "max_in_flight", "max_queued"):
        yield CheckConstraint(f"{name} > 0", name=name)
    for name in ("budget_day_usd", "budget_month_usd"):
        yield CheckConstraint(f"{name} >= 0", name=name)


tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("weight", Numeric, nullable=False, server_default=text("1")),
    Column("webhook_secret_encrypted", LargeBinary, nullable=False),
    Column("old_webhook_secret_encrypted", LargeBinary),
    moment("old_webhook_secret_until", nullable=True),
    moment("created_at", default=True),
    # They hold for all keys of the tenant together.
    *_limits(),
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
    moment("created_at", default=True),
    moment("revoked_at", nullable=True),
    *_limits(),
    # What its jobs ask of caches where they do not say: policies.cache_policy.CacheRules, as far as they are given.
    Column("cache", JSONB),
    CheckConstraint("octet_length(token_hash) = 32", name="sha256"),
)
