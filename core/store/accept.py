"""Accepting jobs: many requests, one commit.

A request hands its job to the committer and waits. While one commit is under way the next fills, so at low load a job waits for
nobody and under load the price of a commit is shared. No row pays for a neighbour's fault: a failing commit is bisected.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import see_tenants, tenant_list
from core.direct import NotConnected
from core.store.failures import DATABASE_ERRORS, StoreUnavailable, is_crossed, is_outage
from core.store.statements import fetch, statement
from core.telemetry.metrics import COMMIT_JOBS


@dataclass(slots=True)
class NewJob:
    """A checked job request, ready to be stored. ``body``, ``metadata``, ``webhook`` and ``cache_options`` are JSON text.

    ``run_at`` None means now; ``expires_at`` None means ``ttl_s`` seconds after acceptance.
    """

    id: UUID
    tenant_id: UUID
    endpoint: str
    model: str
    body: str
    stream: bool = False
    lane: str = "default"
    priority: int = 5
    metadata: str = "{}"
    webhook: str | None = None
    cache_options: str | None = None
    group_id: UUID | None = None
    max_attempts: int = 5
    timeout_s: float = 600.0
    ttl_s: float = 86_400.0
    run_at: datetime | None = None
    expires_at: datetime | None = None
    request_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes = b""


@dataclass(slots=True, frozen=True)
class Accepted:
    """What became of a job request.

    Attributes:
        created_at: when it was stored; None for a replay.
        original: the id of the object that the idempotency key stands for, when the request was a replay.
        conflict: the key stands for a request with another payload; nothing was stored.
    """

    created_at: datetime | None = None
    original: UUID | None = None
    conflict: bool = False


@dataclass(slots=True)
class _Pending:
    job: NewJob
    answer: asyncio.Future[Accepted] = field(repr=False)


# Longer, and the caller would rather ask again with the same idempotency key.
_SETTLE_S: Final = 5.0
_ACCEPT_S: Final = 8.0
_COLUMNS: Final = (
    "id", "tenant_id", "endpoint", "model", "lane", "priority", "body", "stream", "metadata", "webhook", "cache_options",
    "group_id", "max_attempts", "timeout_s", "ttl_s", "run_at", "expires_at", "request_id", "traceparent",
)  # fmt: skip


def accepting(jobs: Sequence[NewJob], tenants: Iterable[UUID] | None = None) -> dict[str, Any]:
    """Return the parameters of ``accept.sql``; ``tenants`` are those whose rows may be written, by default those of the jobs."""
    columns: dict[str, Any] = {name: [getattr(job, name) for job in jobs] for name in _COLUMNS}
    columns["tenants"] = tenant_list(tenants if tenants is not None else (job.tenant_id for job in jobs))
    return columns


async def insert_jobs(connection: AsyncConnection, jobs: Sequence[NewJob]) -> datetime:
    """Store ``jobs`` and queue them within a transaction; return their ``created_at``."""
    created_at: datetime = (await connection.execute(statement("accept"), accepting(jobs))).scalar_one()
    return created_at


async def take_keys(connection: AsyncConnection, jobs: Sequence[NewJob]) -> dict[UUID, Accepted]:
    """Take the idempotency keys of ``jobs``; return the outcome of those whose key was taken before, by job id."""
    keyed = sorted(
        (job for job in jobs if job.idempotency_key is not None), key=lambda job: (job.tenant_id, job.idempotency_key)
    )
    first: dict[tuple[UUID, str], NewJob] = {}
    for job in keyed:
        first.setdefault((job.tenant_id, job.idempotency_key or ""), job)
    if not first:
        return {}
    arrays = {
        "tenant_id": [tenant for tenant, _ in first],
        "key": [key for _, key in first],
        "fingerprint": [job.fingerprint for job in first.values()],
        "object_id": [job.id for job in first.values()],
    }
    taken = {(row.tenant_id, row.key) for row in await connection.execute(statement("take_keys"), arrays)}
    others = [job for job in keyed if (job.tenant_id, job.idempotency_key) not in taken or first[_key(job)] is not job]
    if not others:
        return {}
    rows = await connection.execute(
        statement("read_keys"),
        {"tenant_id": [job.tenant_id for job in others], "key": [job.idempotency_key for job in others]},
    )
    known = {(row.tenant_id, row.key): row for row in rows}
    outcomes = {}
    for job in others:
        row = known[_key(job)]
        same = row.fingerprint == job.fingerprint
        outcomes[job.id] = Accepted(original=row.object_id) if same else Accepted(conflict=True)
    return outcomes


def _key(job: NewJob) -> tuple[UUID, str]:
    return job.tenant_id, job.idempotency_key or ""


class Committer:
    """Collects job requests of one process and commits them together.

    Args:
        engine: connections with the API's role.
        most: most jobs in one commit.
        committers: commits under way at once.
    """

    def __init__(self, engine: AsyncEngine, *, most: int = 256, committers: int = 2) -> None:
        self._engine = engine
        self._most = most
        self._committers = committers
        self._pending: list[_Pending] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self.commits = 0

    def start(self) -> None:
        """Start committing on the running event loop."""
        self._tasks = [asyncio.create_task(self._run(), name=f"committer-{n}") for n in range(self._committers)]

    async def stop(self) -> None:
        """Stop; whoever still waits is told that nothing was accepted."""
        for task in (*self._tasks, *self._settling):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._settling, return_exceptions=True)
        for pending in self._pending:
            _refuse(pending, StoreUnavailable("shutting down"))
        self._pending.clear()

    async def submit(self, job: NewJob) -> Accepted:
        """Store ``job`` durably and return what became of it.

        Raises:
            StoreUnavailable: nothing was stored (or nobody can tell: try again with the same idempotency key).
            asyncpg.PostgresError: the database refuses this very row.
        """
        pending = _Pending(job, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._wake.set()
        # The commit goes on when the client goes away: half an acceptance would be worse than an unread answer.
        return await asyncio.shield(pending.answer)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._pending = self._pending[: self._most], self._pending[self._most :]
            if not self._pending:
                self._wake.clear()
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[_Pending]) -> None:
        for attempt in (1, 2):
            try:
                outcomes = await self._store([pending.job for pending in batch])
            except DATABASE_ERRORS as error:
                # A deadlock, or a connection that died while it lay in the pool: nothing was committed, so once more.
                again = is_crossed(error) or (is_outage(error) and not isinstance(error, _UnknownOutcome))
                if again and attempt == 1:
                    continue
                await self._fail(batch, error)
                return
            except asyncio.CancelledError:
                for pending in batch:
                    _refuse(pending, StoreUnavailable("shutting down"))
                raise
            for pending in batch:
                _answer(pending, outcomes[pending.job.id])
            return

    async def _store(self, jobs: list[NewJob]) -> dict[UUID, Accepted]:
        if any(job.idempotency_key is not None for job in jobs):
            outcomes = await self._store_keyed(jobs)
        else:
            ordered = sorted(jobs, key=lambda job: job.id)
            try:
                [row] = await fetch(self._engine, "accept", accepting(ordered), within_s=_ACCEPT_S)
            except DATABASE_ERRORS as error:
                # The statement is its own commit. Only where no connection could be had it is sure that nothing arrived.
                if is_outage(error) and not isinstance(error, NotConnected):
                    raise _UnknownOutcome from error
                raise
            accepted = Accepted(created_at=row.created_at)
            outcomes = dict.fromkeys((job.id for job in jobs), accepted)
        self.commits += 1
        COMMIT_JOBS.observe(len(jobs))
        return outcomes

    async def _store_keyed(self, jobs: list[NewJob]) -> dict[UUID, Accepted]:
        async with self._engine.connect() as connection:
            await see_tenants(connection, {job.tenant_id for job in jobs})
            outcomes = await take_keys(connection, jobs)
            fresh = sorted((job for job in jobs if job.id not in outcomes), key=lambda job: job.id)
            if fresh:
                accepted = Accepted(created_at=await insert_jobs(connection, fresh))
                outcomes |= dict.fromkeys((job.id for job in fresh), accepted)
            try:
                await connection.commit()
            except DATABASE_ERRORS as error:
                if is_outage(error):
                    raise _UnknownOutcome from error
                raise
        return outcomes

    async def _fail(self, batch: list[_Pending], error: BaseException) -> None:
        if isinstance(error, _UnknownOutcome):
            # Beside the commits, not before the next: those who come now should not wait for what became of these.
            task = asyncio.create_task(self._settle(batch))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        elif is_outage(error):
            for pending in batch:
                _refuse(pending, StoreUnavailable("Postgres is not available"))
        elif len(batch) == 1:
            _refuse(batch[0], error)
        else:
            # One row is at fault; each half finds out whether it is the one that holds it.
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])

    async def _settle(self, batch: list[_Pending]) -> None:
        """Find out what became of a commit whose answer was lost: the rows are there, or they are not."""
        try:
            await self._look_for(batch)
        except asyncio.CancelledError:
            for pending in batch:
                _refuse(pending, StoreUnavailable("shutting down"))
            raise

    async def _look_for(self, batch: list[_Pending]) -> None:
        deadline = asyncio.get_running_loop().time() + _SETTLE_S
        while True:
            try:
                found = await self._find([pending.job for pending in batch])
                break
            except DATABASE_ERRORS:
                if asyncio.get_running_loop().time() > deadline:
                    found = {}
                    break
                await asyncio.sleep(0.2)
        for pending in batch:
            created_at = found.get(pending.job.id)
            if created_at is None:
                _refuse(pending, StoreUnavailable("Postgres went away during the commit"))
            else:
                _answer(pending, Accepted(created_at=created_at))

    async def _find(self, jobs: list[NewJob]) -> dict[UUID, datetime]:
        async with self._engine.connect() as connection:
            await see_tenants(connection, {job.tenant_id for job in jobs})
            rows = await connection.execute(statement("read_jobs"), {"id": [job.id for job in jobs]})
            return {row.id: row.created_at for row in rows}


class _UnknownOutcome(OSError):
    """The connection died between COMMIT and its answer."""


def _answer(pending: _Pending, outcome: Accepted) -> None:
    if not pending.answer.done():
        pending.answer.set_result(outcome)


def _refuse(pending: _Pending, error: BaseException) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)
        # The client may have gone: an error nobody waits for is not a leak to warn of.
        pending.answer.exception()
