"""Moves that callers of the API make: cancel, resubmit, delete."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import as_tenant
from core.lifecycle import Status
from core.render import render_job
from core.store.endings import Ended, end
from core.store.entering import let_in
from core.store.failures import DATABASE_ERRORS, StoreUnavailable, is_crossed
from core.store.statements import statement

_T = TypeVar("_T")
_TRIES: Final = 5
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

    async def work(connection: AsyncConnection) -> Cancelled:
        return await _cancel(connection, sorted(jobs), public_url)

    return await _undisturbed(engine, tenant_id, work)


async def cancel_group(engine: AsyncEngine, tenant_id: UUID, group_id: UUID, public_url: str) -> Cancelled | None:
    """Cancel all jobs of a group that have not ended, in one commit; None when there is no such group."""
    names = {"id": group_id, "tenant_id": tenant_id}

    async def work(connection: AsyncConnection) -> Cancelled | None:
        if (await connection.execute(_GROUP, names)).first() is None:
            return None
        jobs = [row.id for row in await connection.execute(_UNFINISHED, names)]
        return await _cancel(connection, jobs, public_url, group_id)

    return await _undisturbed(engine, tenant_id, work)


async def _cancel(
    connection: AsyncConnection, jobs: list[UUID], public_url: str, group: UUID | None = None
) -> Cancelled:
    if not jobs:
        if group is not None:
            # All jobs so far have ended, but the run of a schedule may be about to make more.
            await connection.execute(_MARK_CANCELLED, {"id": group})
        return Cancelled()
    placed = set((await connection.execute(statement("lock_places"), {"id": jobs})).scalars())
    locked = (await connection.execute(statement("lock_jobs"), {"id": jobs})).all()
    if any(row.status == Status.QUEUED and row.id not in placed for row in locked):
        raise _Moving
    rows = (await connection.execute(statement("cancel"), {"id": jobs})).all()
    if group is not None:
        # After the jobs, because a worker that finishes some of them locks in this order too.
        await connection.execute(_MARK_CANCELLED, {"id": group})
    ended = await end(connection, rows, public_url)
    ended.lanes.update(await let_in(connection, left=rows))
    return Cancelled(ended, [row.id for row in rows if row.was_running])


class _Moving(Exception):
    """A job changed its place in the queue between two looks; nothing was done yet."""


async def _undisturbed(engine: AsyncEngine, tenant_id: UUID, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
    """Run ``work`` in a transaction, and again when others got in its way.

    Raises:
        StoreUnavailable: when they did time and again.
    """
    for _ in range(_TRIES):
        try:
            async with as_tenant(engine, tenant_id) as connection:
                return await work(connection)
        except (_Moving, *DATABASE_ERRORS) as error:
            if not (isinstance(error, _Moving) or is_crossed(error)):
                raise
    raise StoreUnavailable("the jobs are moving too fast")


async def resubmit(engine: AsyncEngine, tenant_id: UUID, job: UUID, public_url: str) -> str | None:
    """Queue an ended job again; return its lane, or None when its state does not allow that (or there is no such job)."""
    async with as_tenant(engine, tenant_id) as connection:
        row = (await connection.execute(statement("read_jobs"), {"id": [job]})).mappings().first()
        if row is None:
            return None
        ending = orjson.dumps(render_job(row, public_url)).decode()
        again = (await connection.execute(statement("resubmit"), {"id": job, "ending": ending})).first()
        if again is None:
            return None
        await let_in(connection, [again])
        return str(again.lane)


async def delete_job(engine: AsyncEngine, tenant_id: UUID, job: UUID) -> bool:
    """Delete an ended job and all that tells of it; False when it has not ended or there is no such job."""
    async with as_tenant(engine, tenant_id) as connection:
        rows: Sequence[Any] = (await connection.execute(statement("delete_job"), {"id": [job]})).all()
        return bool(rows)
