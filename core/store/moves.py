"""Moves that callers of the API make: cancel, resubmit, delete."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import see_tenants
from core.render import render_job
from core.store.endings import Ended, end
from core.store.statements import statement

_GROUP = text("SELECT id FROM groups WHERE id = :id AND tenant_id = :tenant_id")
_UNFINISHED = text(
    "SELECT id FROM jobs WHERE group_id = :id AND tenant_id = :tenant_id AND finished_at IS NULL ORDER BY id"
)
_MARK_CANCELLED = text(
    "UPDATE groups SET cancelled_at = coalesce(cancelled_at, now()) WHERE id = :id AND remaining > 0"
)


@dataclass(slots=True)
class Cancelled:
    """What a cancel did: which jobs it ended, which of them a worker must be told about."""

    ended: Ended = field(default_factory=Ended)
    running: list[UUID] = field(default_factory=list)


async def cancel_jobs(engine: AsyncEngine, tenant_id: UUID, jobs: Sequence[UUID], public_url: str) -> Cancelled:
    """Cancel those of ``jobs`` that are queued or running, in one commit; ended ones stay as they are."""
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant_id])
        return await _cancel(connection, sorted(jobs), public_url)


async def cancel_group(engine: AsyncEngine, tenant_id: UUID, group_id: UUID, public_url: str) -> Cancelled | None:
    """Cancel all jobs of a group that have not ended, in one commit; None when there is no such group."""
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant_id])
        names = {"id": group_id, "tenant_id": tenant_id}
        if (await connection.execute(_GROUP, names)).first() is None:
            return None
        jobs = [row.id for row in await connection.execute(_UNFINISHED, names)]
        return await _cancel(connection, jobs, public_url, group_id)


async def _cancel(
    connection: AsyncConnection, jobs: list[UUID], public_url: str, group: UUID | None = None
) -> Cancelled:
    if not jobs:
        return Cancelled()
    await connection.execute(statement("lock_places"), {"id": jobs})
    rows = (await connection.execute(statement("cancel"), {"id": jobs})).all()
    if group is not None:
        # After the jobs, because a worker that finishes some of them locks in this order too.
        await connection.execute(_MARK_CANCELLED, {"id": group})
    ended = await end(connection, rows, public_url)
    return Cancelled(ended, [row.id for row in rows if row.was_running])


async def resubmit(engine: AsyncEngine, tenant_id: UUID, job: UUID, public_url: str) -> str | None:
    """Queue an ended job again; return its lane, or None when its state does not allow that (or there is no such job)."""
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant_id])
        row = (await connection.execute(statement("read_jobs"), {"id": [job]})).mappings().first()
        if row is None:
            return None
        ending = orjson.dumps(render_job(row, public_url)).decode()
        again = (await connection.execute(statement("resubmit"), {"id": job, "ending": ending})).first()
        return None if again is None else str(again.lane)


async def delete_job(engine: AsyncEngine, tenant_id: UUID, job: UUID) -> bool:
    """Delete an ended job and all that tells of it; False when it has not ended or there is no such job."""
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant_id])
        rows: Sequence[Any] = (await connection.execute(statement("delete_job"), {"id": [job]})).all()
        return bool(rows)
