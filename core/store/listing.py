"""Pages of a tenant's jobs, newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Select, case, cast, func, literal_column, null, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import Text

from core import ids
from core.database import see_tenants
from core.tables import jobs

#: Results longer than this (bytes of JSON) are left out of pages: a hundred of them would not fit into an answer.
PAGE_RESULT_LIMIT: Final = 64 * 1024
# An id holds the time of the process that made it, which may differ from the database's by a little.
_CLOCKS_DIFFER: Final = timedelta(minutes=10)
# Connections are tuned for the queue; pages want the planner's free choice, above all for the index on metadata.
_FREE_PLANNER = text("SELECT set_config('enable_bitmapscan', 'on', true), set_config('plan_cache_mode', 'auto', true)")
_RENDERED: Final = (
    "id", "status", "endpoint", "model", "lane", "priority", "created_at", "run_at", "started_at", "finished_at", "expires_at",
    "attempts", "max_attempts", "cost_usd", "group_id", "schedule_id", "version",
)  # fmt: skip
_AS_TEXT: Final = ("error", "usage", "route", "cache", "timing", "metadata")


@dataclass(slots=True, frozen=True)
class JobFilter:
    """What the jobs of a page have in common; None leaves a member open."""

    status: str | None = None
    lane: str | None = None
    endpoint: str | None = None
    model: str | None = None
    group_id: UUID | None = None
    schedule_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] | None = None


async def list_jobs(
    engine: AsyncEngine, tenant_id: UUID, wanted: JobFilter, *, after: UUID | None, limit: int
) -> Sequence[Mapping[Any, Any]]:
    """Return up to ``limit`` rows for ``render_job`` with ``result_omitted``.

    ``after`` is a position in time: there need not be a job of that id any more.
    """
    conditions = _conditions(tenant_id, wanted)
    if after is not None:
        conditions.append(jobs.c.id < after)
    async with engine.connect() as connection:
        await see_tenants(connection, [tenant_id])
        await connection.execute(_FREE_PLANNER)
        page = _page().where(*conditions).order_by(jobs.c.id.desc()).limit(limit)
        found: Sequence[Mapping[Any, Any]] = (await connection.execute(page)).mappings().all()
        return found


def _page() -> Select[Any]:
    length = func.octet_length(cast(jobs.c.result, Text))
    return select(
        *(jobs.c[name] for name in _RENDERED),
        *(cast(jobs.c[name], Text).label(name) for name in _AS_TEXT),
        case((length > PAGE_RESULT_LIMIT, null()), else_=cast(jobs.c.result, Text)).label("result"),
        func.coalesce(length > PAGE_RESULT_LIMIT, False).label("result_omitted"),
    )


def _conditions(tenant_id: UUID, wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [jobs.c.tenant_id == tenant_id]
    for name in ("status", "lane", "endpoint", "model", "group_id", "schedule_id"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(jobs.c[name] == value)
    # Besides the time itself a bound on the ids, which spares whole partitions.
    if wanted.created_after is not None:
        conditions += [
            jobs.c.created_at > wanted.created_after,
            jobs.c.id >= _bound(wanted.created_after, -_CLOCKS_DIFFER),
        ]
    if wanted.created_before is not None:
        conditions += [
            jobs.c.created_at < wanted.created_before,
            jobs.c.id < _bound(wanted.created_before, _CLOCKS_DIFFER),
        ]
    if wanted.metadata:
        metadata = cast(jobs.c.metadata, JSONB)
        conditions += [
            metadata.contains(dict(wanted.metadata)),
            literal_column("jobs.metadata <> '{}'::jsonb", Boolean),
        ]
    return conditions


def _bound(moment: datetime, margin: timedelta) -> UUID:
    try:
        return ids.floor_of(moment + margin)
    except OverflowError:  # the first or the last minutes that a calendar has
        return ids.floor_of(moment)
