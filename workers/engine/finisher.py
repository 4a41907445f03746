"""Committing what became of attempts: many outcomes, one commit.

An outcome is kept until Postgres has taken it or its lease is known to be gone; a database that is away
delays it and nothing else.
No attempt pays for a neighbour's row: a commit that fails for the data's sake is bisected.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import Announcer
from core.collector import Collector
from core.store.failures import is_crossed, is_outage
from core.store.work import Committed, DeltaChunk, Finish, Requeue, commit_outcomes
from core.telemetry.metrics import CACHE_JOBS, DROPPED
from workers.engine.job import Job

_log = structlog.get_logger(__name__)
_AGAIN_S = 0.25
_AGAIN_CAP_S = 2.0


@dataclass(slots=True)
class Outcome:
    """What became of an attempt, with the deltas that were not stored yet."""

    job: Job
    move: Finish | Requeue
    chunks: list[DeltaChunk] = field(default_factory=list)


class Finisher(Collector[Outcome]):
    """Commits outcomes in the background.

    Args:
        engine: connections with the worker's role.
        process_id: who ran the attempts.
        public_url: what absolute URLs in webhook payloads start with.
        most: most outcomes in one commit.
        announcer: tells waiters.
        done: called for every outcome once it is committed or dropped.
        work: told of each lane that a commit gave work; ``webhooks`` when deliveries are due.
        committers: commits under way at once.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        process_id: UUID,
        public_url: str,
        *,
        most: int,
        announcer: Announcer,
        done: Callable[[Iterable[Outcome]], None],
        work: Callable[[str], None],
        committers: int = 2,
    ) -> None:
        super().__init__(most=most, at_once=committers, name="finisher")
        self._engine = engine
        self._process_id = process_id
        self._public_url = public_url
        self._announcer = announcer
        self._done = done
        self._work = work

    def submit(self, outcome: Outcome) -> None:
        """Take an outcome; ``done`` is called when it is settled.

        Outcomes that are still pending when the finisher stops belong to whoever finds the leases run out.
        """
        self._add(outcome)

    async def _handle(self, batch: list[Outcome]) -> None:
        pause = _AGAIN_S
        while True:
            try:
                committed = await self._store(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, no outcome may be lost with a broken task
                if not (is_crossed(error) or is_outage(error)):
                    await self._isolate(batch, error)
                    return
                if is_outage(error):
                    _log.warning("outcomes_wait_for_database", outcomes=len(batch), error=type(error).__name__)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _AGAIN_CAP_S)
            else:
                try:
                    self._tell(batch, committed)
                except Exception:  # noqa: BLE001 - it is stored: who is not told finds out by looking, but slots must come free
                    _log.exception("outcomes_not_told", outcomes=len(batch))
                self._done(batch)
                return

    async def _store(self, batch: list[Outcome]) -> Committed:
        return await commit_outcomes(
            self._engine,
            self._process_id,
            [outcome.move for outcome in batch if isinstance(outcome.move, Finish)],
            [outcome.move for outcome in batch if isinstance(outcome.move, Requeue)],
            [chunk for outcome in batch for chunk in outcome.chunks],
            self._public_url,
        )

    def _tell(self, batch: list[Outcome], committed: Committed) -> None:
        moved = committed.finished + committed.requeued
        # All of them: one that is missing may have been stored by an earlier commit whose answer was lost, or by the part of
        # this one that came before a failure. Waiters should look either way.
        self._announcer.moved(outcome.job.id for outcome in batch)
        if committed.coalesced:
            self._announcer.moved(committed.coalesced)
            CACHE_JOBS.labels("coalesced").inc(len(committed.coalesced))
        if committed.deliveries:
            self._work("webhooks")
        for lane in committed.lanes:
            self._work(lane)
        if len(moved) < len(batch):
            DROPPED.inc(len(batch) - len(moved))
            _log.info("outcomes_dropped", dropped=len(batch) - len(moved), of=len(batch))

    async def _isolate(self, batch: list[Outcome], error: BaseException) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._handle(batch[:middle])
            await self._handle(batch[middle:])
            return
        outcome = batch[0]
        _log.error("outcome_refused", job_id=str(outcome.job.id), error=type(error).__name__)
        if isinstance(outcome.move, Finish) and outcome.move.status == "failed" and not outcome.chunks:
            # Even the plainest failure is refused: leave the job to its lease.
            self._done(batch)
            return
        await self._handle([Outcome(outcome.job, _refused(outcome))])


def _refused(outcome: Outcome) -> Finish:
    job, move = outcome.job, outcome.move
    error = {
        "code": "bad_reply",
        "message": "The answer could not be stored.",
        "retryable": False,
        "upstream_status": None,
    }
    return Finish(
        job.id,
        job.lease_no,
        "failed",
        move.last_seq,
        error=orjson.dumps(error).decode(),
        deployment=move.deployment,
        batch_size=job.batch_size,
    )
