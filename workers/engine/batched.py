"""What jobs of upstream batches pass on their way in and out: the caches and limits that those of calls pass, told of rows."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from core.announce import Announcer
from core.direct import Row
from core.store.failures import DATABASE_ERRORS
from core.store.work import Finish, Requeue
from policies.catalog import Deployment
from workers.engine.admission import Admission
from workers.engine.caching import Caching
from workers.engine.deltas import DeltaStream
from workers.engine.job import Job

_AT_ONCE: Final = 32
Move = Finish | Requeue


class BatchDoors:
    """The `Doors` of `workers.upstream_batches`.

    Args:
        caching: looks for answers, and keeps them.
        admission: asks for the limits of keys and tenants.
        announcer: what streams are told through; jobs in batches have none.
    """

    def __init__(self, caching: Caching, admission: Admission, announcer: Announcer) -> None:
        self._caching = caching
        self._admission = admission
        self._announcer = announcer

    async def enter(self, deployment: Deployment, rows: Sequence[Row], size: int) -> list[Move]:
        """Return the ends of jobs that are answered already, and send back those that a budget has no room for."""
        jobs = [_job(row, size) for row in rows]
        moves: list[Move] = []
        for start in range(0, len(jobs), _AT_ONCE):
            found = await asyncio.gather(*(self._before(job) for job in jobs[start : start + _AT_ONCE]))
            moves += [move for move in found if move is not None]
        answered = {move.id for move in moves}
        waits = await self._admission.batched([job for job in jobs if job.id not in answered], deployment)
        # No attempt is counted: nothing is wrong with the job.
        return moves + [
            Requeue(
                job.id, job.lease_no, "handed_back", "limited", job.event_seq, delay_s=waits[job.id], batch_size=size
            )
            for job in jobs
            if job.id in waits
        ]

    async def answered(self, row: Row, move: Move) -> Move:
        """Return the move with the caches' part in it; a whole answer is kept."""
        return await self._caching.after(_job(row, 1), move)

    async def left(self, moves: Sequence[tuple[Row, Move]]) -> None:
        """Settle the budgets of jobs whose moves are stored. One that cannot be settled now leaves by itself, a day later."""
        with suppress(*DATABASE_ERRORS):
            await self._admission.batch_ended(moves)

    async def _before(self, job: Job) -> Finish | None:
        # Streams never go into batches, so nothing is told through this one.
        return await self._caching.before(job, DeltaStream(job, self._announcer, lambda _: None))


def _job(row: Row, size: int) -> Job:
    job = Job.of(row, size)
    # Claimed by whichever process: when, the database knows.
    job.claimed_at = time.monotonic() - row.running_ms / 1000
    return job
