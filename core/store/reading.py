"""Reading jobs, groups, attempts and events, always within one tenant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import see_tenants, tenant_list
from core.store.statements import fetch, statement


async def _rows(
    engine: AsyncEngine, tenants: Iterable[UUID], name: str, **parameters: object
) -> Sequence[Mapping[Any, Any]]:
    async with engine.connect() as connection:
        await see_tenants(connection, tenants)
        return (await connection.execute(statement(name), parameters)).mappings().all()


async def _rows_at_once(
    engine: AsyncEngine, tenants: Iterable[UUID], name: str, **parameters: object
) -> Sequence[Mapping[Any, Any]]:
    """Run a statement that names its tenants itself: one round trip, for what is read often."""
    rows: Sequence[Any] = await fetch(engine, name, {"tenants": tenant_list(tenants), **parameters})
    return rows


async def read_job(
    engine: AsyncEngine, tenant_id: UUID, job: UUID, *, position: bool = True
) -> Mapping[Any, Any] | None:
    """Return the row of one job for ``render_job``; None when the tenant has no such job.

    ``position`` False leaves ``queue_position`` null, which spares counting it.
    """
    rows = await _rows_at_once(engine, [tenant_id], "read_job", id=job, tenant_id=tenant_id, position=position)
    return rows[0] if rows else None


async def read_group(engine: AsyncEngine, tenant_id: UUID, group: UUID) -> Mapping[Any, Any] | None:
    """Return the row of one group for ``render_group``; None when the tenant has no such group."""
    rows = await _rows(engine, [tenant_id], "read_groups", id=[group])
    return rows[0] if rows else None


async def read_attempts(engine: AsyncEngine, tenant_id: UUID, job: UUID) -> Sequence[Mapping[Any, Any]]:
    """Return the attempts of a job for ``render_attempt``, oldest first, the one under way last."""
    return await _rows(engine, [tenant_id], "read_attempts", id=job, tenant_id=tenant_id)


async def read_events(
    engine: AsyncEngine, tenant_id: UUID, job: UUID, after: int, most: int = 500
) -> Sequence[Mapping[Any, Any]]:
    """Return stored events with a number above ``after``: seq, last_seq, type, data (JSON text or None), created_at."""
    parameters = {"id": job, "tenant_id": tenant_id, "after": after, "most": most}
    return await _rows_at_once(engine, [tenant_id], "read_events", **parameters)


async def read_states(
    engine: AsyncEngine, tenants: Iterable[UUID], jobs: Sequence[UUID]
) -> dict[UUID, tuple[int, str, int]]:
    """Return (version, status, number of the last stored event) of each of ``jobs`` that exists, in one statement."""
    rows = await _rows_at_once(engine, tenants, "read_states", id=list(jobs))
    return {row["id"]: (row["version"], row["status"], row["tail"]) for row in rows}
