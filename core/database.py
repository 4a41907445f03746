"""Connections to Postgres: who we are on them, how long we wait, and whose rows we may see."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from core.direct import DirectPool
from core.settings import Settings

Role = Literal["coatcheck_api", "coatcheck_worker"]

_DIRECT: WeakKeyDictionary[Engine, DirectPool] = WeakKeyDictionary()

_SCOPE = text("SELECT set_config('app.tenants', :tenants, true)")

# A process whose connection went silent in the middle of a transaction keeps rows locked that others need for their work, the
# sweep for instance; they wait for no longer than this. No transaction of ours waits for anything but Postgres.
_IDLE_IN_TRANSACTION = "10s"
# Somebody waits for what the API asks, and jobs for what their worker asks: a connection that went silent must not hold them for
# longer, in seconds. None of these statements takes more than a few milliseconds.
_SHORT_S = 10.0
# A server that gives a statement up says so before the client gives the server up, in seconds.
_GRACE_S = 3.0

# A network that swallows a connection is noticed by the server within half a minute, and not in two hours: until then it holds
# whatever the connection had locked. Unix sockets know none of this, and need none.
_KEEPALIVE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}

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


def connect(settings: Settings, role: Role | None, *, pool_size: int, name: str, patient: bool = False) -> AsyncEngine:
    """Return an engine whose connections act as ``role`` (None: as the URL's own role, which owns the schema).

    Args:
        settings: where the database is and how long to wait for it.
        role: the NOLOGIN role that migrations made for this kind of process.
        pool_size: most connections at once, half of them for single statements; 0 or 1 opens one per use.
        name: what ``pg_stat_activity`` shows.
        patient: nobody waits for what is asked, and it may take as long as the settings allow. The URL's own role always may.
    """
    patient = patient or role is None
    statement_s = settings.statement_timeout_s if patient else min(settings.statement_timeout_s, _SHORT_S)
    server_settings = {
        "application_name": name,
        "statement_timeout": str(int(statement_s * 1000)),
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
        "timezone": "UTC",
        **_KEEPALIVE,
    }
    if role is not None:
        server_settings |= {"role": role} | _PLANNER
    connect_args = {
        "server_settings": server_settings,
        "timeout": settings.database_connect_timeout_s,
        "command_timeout": statement_s + _GRACE_S,
    }
    pool: dict[str, Any] = {"poolclass": NullPool}
    if pool_size > 1:
        pool = {
            "pool_size": pool_size - pool_size // 2,
            "max_overflow": 0,
            "pool_timeout": settings.database_connect_timeout_s,
            "pool_use_lifo": True,
            "pool_recycle": 1800,
        }
    # JSON goes through as text: most of it is never looked into on its way from the table to the caller.
    engine = create_async_engine(settings.database_url, connect_args=connect_args, json_deserializer=str, **pool)
    _, options = engine.dialect.create_connect_args(engine.url)
    beside = DirectPool(
        dict(options) | connect_args, most=max(1, pool_size // 2), wait_s=settings.database_connect_timeout_s
    )
    _DIRECT[engine.sync_engine] = beside
    event.listen(engine.sync_engine, "engine_disposed", lambda _: beside.terminate())
    event.listen(engine.sync_engine, "handle_error", _drop_the_silent)
    return engine


def _drop_the_silent(context: ExceptionContext) -> None:
    """A server that did not even say that it gave up is out of reach: so it is, most likely, on all our other connections."""
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = True


def direct(engine: AsyncEngine) -> DirectPool:
    """Return the connections beside ``engine`` for single statements: each is a transaction of its own, one round trip."""
    return _DIRECT[engine.sync_engine]


def tenant_list(tenants: Iterable[UUID]) -> str:
    """Return ``tenants`` as the setting ``app.tenants`` wants them."""
    return ",".join(sorted({str(tenant) for tenant in tenants}))


async def see_tenants(connection: AsyncConnection, tenants: Iterable[UUID]) -> None:
    """Let the current transaction see and write the rows of ``tenants`` and of nobody else (row-level security)."""
    await connection.execute(_SCOPE, {"tenants": tenant_list(tenants)})


@asynccontextmanager
async def as_tenant(engine: AsyncEngine, tenant: UUID) -> AsyncIterator[AsyncConnection]:
    """Begin a transaction on the rows of one tenant; it is committed at the end."""
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant])
        yield connection
