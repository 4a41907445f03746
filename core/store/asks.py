"""What a tenant asked for, as learned schedules look at it, and what a run chose of it. For workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.store.endings import end_groups
from core.store.schedule_runs import LEASE_S
from core.store.statements import fetch, statement

#: Longest time for reading the asks, in seconds: well within the lease of whoever reads them.
WITHIN_S: Final = 5.0
#: So many jobs of each span are looked at, its newest, and so many entries returned.
MOST_EACH: Final = 5_000
MOST_ENTRIES: Final = 5_000
_MOST_BYTES: Final = 16 * 2**20
# The queue's connections price sorting and hashing out; here thousands of rows are grouped.
_LIMITS = text(
    "SELECT set_config('statement_timeout', :within_ms, true), set_config('enable_bitmapscan', 'on', true), "
    "set_config('plan_cache_mode', 'auto', true)"
)


class TooManyAsks(Exception):
    """They could not be read in time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An entry that was asked for more than once.

    Attributes:
        key: of `policies.cache_keys.exact_key`.
        at: epoch seconds of the quarters of an hour in which it was asked for.
        times: how often in each of them.
        job_id: the newest job that asked for it and was answered.
        endpoint, model: as they were asked for.
        ms: what the upstream needs for it, milliseconds.
        usd: what that costs; None when nobody knows.
        tokens: what that consumes.
    """

    key: bytes
    at: Sequence[int]
    times: Sequence[int]
    job_id: UUID
    endpoint: str
    model: str
    ms: float
    usd: Decimal | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Asks:
    """What was asked for; `since` is the time of the first ask, None when there is none."""

    entries: Sequence[Asked] = ()
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was made before; `body` is JSON text."""

    endpoint: str
    body: str


async def read_asks(
    engine: AsyncEngine,
    tenant_id: UUID,
    spans: Sequence[tuple[datetime, datetime]],
    *,
    endpoint: str | None,
    model: str | None,
    version: int,
) -> Asks:
    """Return what a tenant asked for in some spans of time that do not overlap.

    Args:
        engine: connections with the worker's role.
        tenant_id: whose asks.
        spans: from when to (not including) when.
        endpoint, model: only asks for these, as they were asked for; None for any.
        version: of the keys that are made now: entries under others are met no more.

    Raises:
        TooManyAsks: when the database needs more than ``WITHIN_S``.
    """
    parameters = {
        "tenant_id": tenant_id,
        "low": [ids.floor_of(low) for low, _ in spans],
        "high": [ids.floor_of(high) for _, high in spans],
        "most_each": MOST_EACH,
        "most": MOST_ENTRIES,
        "endpoint": endpoint,
        "model": model,
        "version": f"{version:02x}",
    }
    try:
        async with engine.begin() as connection:
            await connection.execute(_LIMITS, {"within_ms": str(round(WITHIN_S * 1000))})
            rows = (await connection.execute(statement("schedule_asks"), parameters)).all()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == asyncpg.QueryCanceledError.sqlstate:
            raise TooManyAsks from None
        raise
    entries = [
        Asked(
            bytes.fromhex(row.key), row.at, row.times, row.job_id, row.endpoint, row.model, row.ms, row.usd, row.tokens
        )
        for row in rows
    ]
    return Asks(entries, rows[0].since if rows else None)


async def read_requests(engine: AsyncEngine, tenant_id: UUID, jobs: Sequence[UUID]) -> list[Request | None]:
    """Return the requests of jobs, in order, None for one that is gone; fewer than asked for where they weigh too much."""
    rows = await fetch(engine, "schedule_bodies", {"tenant_id": tenant_id, "id": list(jobs), "most_bytes": _MOST_BYTES})
    return [None if row.body is None else Request(row.endpoint, row.body) for row in rows]


async def store_choice(
    engine: AsyncEngine,
    run_id: UUID,
    public_url: str,
    *,
    planned: int,
    over_budget: int = 0,
    plan: str | None = None,
    choices: str = "[]",
    reason: str | None = None,
) -> int | None:
    """Write down what a learned run chose, as JSON text; a run that chose nothing has ended by that.

    Returns:
        How many deliveries are due; None when somebody else has chosen, or the run is gone.
    """
    parameters: dict[str, Any] = {
        "id": run_id, "planned": planned, "over_budget": over_budget, "plan": plan, "choices": choices, "reason": reason,
        "lease_s": LEASE_S,
    }  # fmt: skip
    async with engine.begin() as connection:
        if (await connection.execute(statement("schedule_choose"), parameters)).first() is None:
            return None
        return 0 if planned else await end_groups(connection, [run_id], public_url)
