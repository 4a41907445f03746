"""Reading what shadow mode recorded."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, and_, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import see_tenants
from core.tables import semantic_shadow
from policies.shadow import AGREES, Bucket

_ROW = semantic_shadow.c
_AGREES = _ROW.same | (func.coalesce(_ROW.answers_cosine, 0) >= AGREES)
_PASSED = _ROW.guard.is_(None)
# A similarity of 1 belongs to the last step; the small addend is that of policies.shadow.step_of.
_STEP = func.greatest(0, func.least(19, cast(func.floor(_ROW.similarity * 20 + 1e-9), Integer)))


async def read_shadow(
    engine: AsyncEngine, tenant: UUID, first: datetime, last: datetime
) -> dict[tuple[str, str], list[Bucket]]:
    """Return the pairs of a tenant between two moments, counted by (model, embedder) and similarity."""
    query = (
        select(
            _ROW.model, _ROW.embedder, _STEP.label("step"),
            _count(_PASSED).label("pairs"),
            _count(and_(_PASSED, _ROW.same)).label("same"),
            _count(and_(_PASSED, _AGREES)).label("agreeing"),
            func.avg(case((_PASSED, _ROW.answers_cosine))).label("cosine"),
            _count(~_PASSED).label("refused"),
            _count(and_(~_PASSED, _AGREES)).label("refused_same"),
        )
        .where(_within(tenant, first, last))
        .group_by(_ROW.model, _ROW.embedder, _STEP)
        .order_by(_ROW.model, _ROW.embedder, _STEP)
    )  # fmt: skip
    async with engine.connect() as connection:
        await see_tenants(connection, [tenant])
        rows = (await connection.execute(query)).all()
    found: dict[tuple[str, str], list[Bucket]] = {}
    for row in rows:
        found.setdefault((row.model, row.embedder), []).append(Bucket(*row[2:]))
    return found


async def read_doubtful(
    engine: AsyncEngine, tenant: UUID, first: datetime, last: datetime, most: int
) -> list[dict[str, Any]]:
    """Return the pairs that would have been served and agree least, the worst first."""
    query = (
        select(semantic_shadow)
        .where(_within(tenant, first, last), _PASSED, _ROW.similarity >= _ROW.threshold, ~_ROW.same)
        .order_by(_ROW.answers_cosine.asc().nulls_first(), _ROW.id)
        .limit(most)
    )
    async with engine.connect() as connection:
        await see_tenants(connection, [tenant])
        return [dict(row) for row in (await connection.execute(query)).mappings()]


async def read_refusals(
    engine: AsyncEngine, tenant: UUID, first: datetime, last: datetime
) -> dict[tuple[str, str], dict[str, int]]:
    """Return how often the guard refused for which reason, by (model, embedder)."""
    query = (
        select(_ROW.model, _ROW.embedder, _ROW.guard, func.count())
        .where(_within(tenant, first, last), ~_PASSED)
        .group_by(_ROW.model, _ROW.embedder, _ROW.guard)
        .order_by(func.count().desc(), _ROW.guard)
    )
    async with engine.connect() as connection:
        await see_tenants(connection, [tenant])
        rows: Iterable[Any] = (await connection.execute(query)).all()
    found: dict[tuple[str, str], dict[str, int]] = {}
    for model, embedder, guard, times in rows:
        found.setdefault((model, embedder), {})[guard] = times
    return found


def _within(tenant: UUID, first: datetime, last: datetime) -> Any:
    # Ids are in the order of time, and there is an index on them.
    return and_(
        _ROW.tenant_id == tenant,
        _ROW.id >= func.uuid7_floor(first),
        _ROW.created_at >= first,
        _ROW.created_at < last,
    )


def _count(condition: Any) -> Any:
    return func.count(case((condition, 1)))
