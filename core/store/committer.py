"""Group commits: many requests, one commit.

A request hands its job to the committer and waits. While one commit is under way the next fills, so at low load a job waits for
nobody and under load the price of a commit is shared. No row pays for a neighbour's fault: a failing commit is bisected.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.collector import Collector
from core.database import see_tenants
from core.direct import NotConnected
from core.store.accept import Accepted, NewJob, accepting, insert_jobs, take_keys
from core.store.failures import DATABASE_ERRORS, StoreUnavailable, UnknownOutcome, commit, is_crossed, is_outage
from core.store.statements import fetch, statement
from core.telemetry.metrics import COMMIT_JOBS

_log = structlog.get_logger(__name__)

# Longer, and the caller would rather ask again with the same idempotency key.
_SETTLE_S: Final = 5.0
ACCEPT_S: Final = 8.0


@dataclass(slots=True)
class _Pending:
    job: NewJob
    answer: asyncio.Future[Accepted] = field(repr=False)


class Committer(Collector[_Pending]):
    """Collects job requests of one process and commits them together.

    Args:
        engine: connections with the API's role.
        most: most jobs in one commit.
        committers: commits under way at once.
    """

    def __init__(self, engine: AsyncEngine, *, most: int = 256, committers: int = 2) -> None:
        super().__init__(most=most, at_once=committers, name="committer")
        self._engine = engine
        self._settling: set[asyncio.Task[None]] = set()
        self.commits = 0

    async def stop(self) -> None:
        """Stop; whoever still waits is told that nothing was accepted."""
        await super().stop()
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)
        _refuse_all(self._pending, StoreUnavailable("shutting down"))
        self._pending.clear()

    async def submit(self, job: NewJob) -> Accepted:
        """Store ``job`` durably and return what became of it.

        Raises:
            StoreUnavailable: nothing was stored (or nobody can tell: try again with the same idempotency key).
            asyncpg.PostgresError: the database refuses this very row.
        """
        pending = _Pending(job, asyncio.get_running_loop().create_future())
        self._add(pending)
        # The commit goes on when the client goes away: half an acceptance would be worse than an unread answer.
        return await asyncio.shield(pending.answer)

    async def _handle(self, batch: list[_Pending]) -> None:
        # Jobs with a concurrency key may have to wait for the key, and nobody else should wait with them.
        try:
            for part in _parted(batch):
                try:
                    await self._commit(part)
                except Exception as error:  # noqa: BLE001 - whatever broke, every caller gets an answer
                    # A defect of ours: these callers are told, and those after them still find a committer.
                    _log.exception("commit_broke", jobs=len(part))
                    _refuse_all(part, error)
        except asyncio.CancelledError:
            # Of all its parts and halves, those that were never begun too.
            _refuse_all(batch, StoreUnavailable("shutting down"))
            raise

    async def _commit(self, batch: list[_Pending]) -> None:
        for attempt in (1, 2):
            try:
                outcomes = await self._store([pending.job for pending in batch])
            except DATABASE_ERRORS as error:
                # A deadlock, or a connection that died while it lay in the pool: nothing was committed, so once more.
                again = is_crossed(error) or (is_outage(error) and not isinstance(error, UnknownOutcome))
                if again and attempt == 1:
                    continue
                await self._fail(batch, error)
                return
            for pending in batch:
                _answer(pending, outcomes[pending.job.id])
            return

    async def _store(self, jobs: list[NewJob]) -> dict[UUID, Accepted]:
        outcomes = await self._accept(jobs)
        self.commits += 1
        COMMIT_JOBS.observe(len(jobs))
        return outcomes

    async def _accept(self, jobs: list[NewJob]) -> dict[UUID, Accepted]:
        if any(job.idempotency_key is not None or job.concurrency_key is not None for job in jobs):
            return await self._store_in_steps(jobs)
        ordered = sorted(jobs, key=lambda job: job.id)
        try:
            [row] = await fetch(self._engine, "accept", accepting(ordered), within_s=ACCEPT_S)
        except DATABASE_ERRORS as error:
            # The statement is its own commit. Only where no connection could be had it is sure that nothing arrived.
            if is_outage(error) and not isinstance(error, NotConnected):
                raise UnknownOutcome from error
            raise
        return dict.fromkeys((job.id for job in jobs), Accepted(created_at=row.created_at))

    async def _store_in_steps(self, jobs: list[NewJob]) -> dict[UUID, Accepted]:
        async with self._engine.connect() as connection:
            await see_tenants(connection, {job.tenant_id for job in jobs})
            outcomes = await take_keys(connection, jobs)
            fresh = sorted((job for job in jobs if job.id not in outcomes), key=lambda job: job.id)
            if fresh:
                accepted = Accepted(created_at=await insert_jobs(connection, fresh))
                outcomes |= dict.fromkeys((job.id for job in fresh), accepted)
            await commit(connection)
        return outcomes

    async def _fail(self, batch: list[_Pending], error: BaseException) -> None:
        if isinstance(error, UnknownOutcome):
            # Beside the commits, not before the next: those who come now should not wait for what became of these.
            task = asyncio.create_task(self._settle(batch))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        elif is_outage(error):
            _refuse_all(batch, StoreUnavailable("Postgres is not available"))
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
        finally:
            # Broken off, most of the time by the end of the process; whoever was answered stays answered.
            _refuse_all(batch, StoreUnavailable("nobody can tell what became of the commit"))

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


def _parted(batch: list[_Pending]) -> list[list[_Pending]]:
    parts: tuple[list[_Pending], list[_Pending]] = ([], [])
    for pending in batch:
        parts[pending.job.concurrency_key is not None].append(pending)
    return [part for part in parts if part]


def _answer(pending: _Pending, outcome: Accepted) -> None:
    if not pending.answer.done():
        pending.answer.set_result(outcome)


def _refuse_all(batch: list[_Pending], error: BaseException) -> None:
    for pending in batch:
        _refuse(pending, error)


def _refuse(pending: _Pending, error: BaseException) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(error)
        # The client may have gone: an error nobody waits for is not a leak to warn of.
        pending.answer.exception()
