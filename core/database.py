"""Connections to Postgres: who we are on them, how long we wait, and whose rows we may see."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from core.settings import Settings

Role = Literal["coatcheck_api", "coatcheck_worker"]

_SCOPE = text("SELECT set_config('app.tenants', :tenants, true)")

# The queue's statements join a handful of ids with big tables. A planner that knows neither the length of an array nor how
# fast these tables change picks a hash over a million rows now and then, so the alternatives to the index are priced out,
# and plans are made once instead of once per partition and call.
_PLANNER = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}


def connect(settings: Settings, role: Role | None, *, pool_size: int, name: str) -> AsyncEngine:
    """Return an engine whose connections act as ``role`` (None: as the URL's own role, which owns the schema).

    Args:
        settings: where the database is and how long to wait for it.
        role: the NOLOGIN role that migrations made for this kind of process.
        pool_size: most connections at once; 0 opens one per use.
        name: what ``pg_stat_activity`` shows.
    """
    server_settings = {
        "application_name": name,
        "statement_timeout": str(int(settings.statement_timeout_s * 1000)),
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
    }
    if role is not None:
        server_settings |= {"role": role} | _PLANNER
    connect_args = {
        "server_settings": server_settings,
        "timeout": settings.database_connect_timeout_s,
        "command_timeout": settings.statement_timeout_s + 5,
    }
    if pool_size == 0:
        return create_async_engine(
            settings.database_url, poolclass=NullPool, connect_args=connect_args, json_deserializer=str
        )
    return create_async_engine(
        settings.database_url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=settings.database_connect_timeout_s,
        pool_use_lifo=True,
        pool_recycle=1800,
        connect_args=connect_args,
        # JSON goes through as text: most of it is never looked into on its way from the table to the caller.
        json_deserializer=str,
    )


@lru_cache(maxsize=32)
def at_once(engine: AsyncEngine) -> AsyncEngine:
    """Return ``engine`` for single statements: each is a transaction of its own, one round trip instead of three or four."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def tenant_list(tenants: Iterable[UUID]) -> str:
    """Return ``tenants`` as the setting ``app.tenants`` wants them."""
    return ",".join(sorted({str(tenant) for tenant in tenants}))


async def see_tenants(connection: AsyncConnection, tenants: Iterable[UUID]) -> None:
    """Let the current transaction see and write the rows of ``tenants`` and of nobody else (row-level security)."""
    await connection.execute(_SCOPE, {"tenants": tenant_list(tenants)})
