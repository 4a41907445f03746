"""The jobs that run in this process: begun, aborted, handed back, settled. Lives on the engine's loop."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from core import ids
from core.announce import Announcer
from core.store.work import DeltaChunk, Finish, Requeue
from core.telemetry.metrics import ATTEMPTS, IN_FLIGHT
from workers.engine.admission import Admission
from workers.engine.attempt import Attempts
from workers.engine.caching import Caching
from workers.engine.deltas import DeltaStream, DeltaWriter
from workers.engine.finisher import Outcome
from workers.engine.job import Job
from workers.engine.slots import Slots

_log = structlog.get_logger(__name__)
_ABORT_S = 5.0
PREWARM = "prewarm"


@dataclass(slots=True, frozen=True)
class _Running:
    job: Job
    task: asyncio.Task[None]


class Flight:
    """Keeps the books of running jobs.

    Args:
        slots: the process's counts.
        attempts: runs one attempt.
        admission: asks for the limits of keys and tenants.
        deltas: stores streamed deltas.
        announcer: tells waiters.
        submit: takes an outcome for the next commit.
        freed: called after slots came free.
        ended: told the jobs whose end is stored.
        caching: looks for answers, and keeps them.

    Attributes:
        leases: the lease number of every job in this process. Other threads may copy it, nobody else changes it.
        prewarming: how many jobs of each model run here for the lane ``prewarm``, which gives way to all others.
    """

    def __init__(  # noqa: PLR0913 - the parts that a job meets on its way
        self,
        slots: Slots,
        attempts: Attempts,
        admission: Admission,
        deltas: DeltaWriter,
        announcer: Announcer,
        *,
        submit: Callable[[Outcome], None],
        freed: Callable[[], None],
        caching: Caching,
        ended: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self._slots = slots
        self._attempts = attempts
        self._admission = admission
        self._deltas = deltas
        self._announcer = announcer
        self._submit = submit
        self._freed = freed
        self._ended = ended
        self._caching = caching
        self._running: dict[UUID, _Running] = {}
        self._handing_back = False
        self.leases: dict[UUID, int] = {}
        self.prewarming: Counter[str] = Counter()

    def begin(self, job: Job) -> None:
        """Start an attempt at a job that was just claimed."""
        self._slots.take(job.lane, job.tenant_id, job.body_bytes)
        self._attempts.router.expect(job.model)
        IN_FLIGHT.labels(job.lane).inc()
        if job.lane == PREWARM:
            self.prewarming[job.model] += 1
        stream = DeltaStream(job, self._announcer, self._deltas.note)
        self._running[job.id] = _Running(job, asyncio.create_task(self._run(job, stream)))
        self.leases[job.id] = job.lease_no
        if job.stream:
            self._announcer.moved([job.id])

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Count out jobs whose outcome is committed or dropped."""
        for outcome in outcomes:
            if isinstance(outcome.move, Finish):
                self._ended(outcome.job)
            self._leave(outcome.job)
        self._freed()

    def abort(self, jobs: Iterable[UUID], leases: Mapping[UUID, int] | None = None) -> None:
        """Stop attempts whose job is no longer ours; nothing is stored of them.

        Args:
            jobs: which jobs; those that don't run here are passed over.
            leases: when given, only attempts under these lease numbers are meant.
        """
        for job_id in jobs:
            current = self._running.get(job_id)
            if current is None or (leases is not None and current.job.lease_no != leases[job_id]):
                continue
            _log.info("attempt_aborted", job_id=ids.encode(ids.JOB, job_id))
            ATTEMPTS.labels(current.job.model, "aborted", "").inc()
            self.leases.pop(job_id, None)
            # A task that is cancelled before its first step never gets to clean up after itself; by the next turn it has begun.
            asyncio.get_running_loop().call_soon(current.task.cancel)

    def abort_all(self) -> None:
        """Stop every attempt: the lease of this process has run out."""
        self.abort(list(self._running))

    async def land(self, grace_s: float) -> None:
        """Let attempts end for ``grace_s`` seconds, hand back the rest, and wait until the outcomes are stored."""
        if tasks := [running.task for running in self._running.values()]:
            _log.info("draining", jobs=len(tasks), grace_s=grace_s)
            await asyncio.wait(tasks, timeout=grace_s)
        self._handing_back = True
        if late := [running.task for running in self._running.values() if not running.task.done()]:
            _log.info("handing_back", jobs=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=_ABORT_S)
        # Outcomes are on their way to the database; one that answers gets the time to take them.
        for _ in range(100):
            if not self._running:
                return
            await asyncio.sleep(0.05)

    async def _run(self, job: Job, stream: DeltaStream) -> None:
        try:
            move = await self._attempt(job, stream)
        except asyncio.CancelledError:
            if not (self._handing_back and self.leases.get(job.id) == job.lease_no):
                # Cancelled or taken over: somebody else has moved the job on.
                self._admission.ended(job, None)
                self._leave(job)
                self._freed()
                return
            move = Requeue(
                job.id, job.lease_no, "handed_back", "worker_stopping", stream.last_seq, reset=stream.streamed,
                batch_size=job.batch_size,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a job that stayed here would keep its lease, and nobody else could take it
            move = self._attempts.broke(job, stream, error)
        self._admission.ended(job, move)
        self._submit(Outcome(job, move, await self._last_chunks(stream)))

    async def _attempt(self, job: Job, stream: DeltaStream) -> Finish | Requeue:
        try:
            move: Finish | Requeue | None = await self._caching.before(job, stream)
            if move is None and not self._admission.free(job):
                move = await self._turned_away(job, stream)
        except BaseException:
            # Cancelled, most of the time: a job that the router no longer has to expect, however it ends.
            self._attempts.router.arrived(job.model)
            raise
        if move is not None:
            self._attempts.router.arrived(job.model)
            return move
        return await self._caching.after(job, await self._attempts.run(job, stream))

    async def _turned_away(self, job: Job, stream: DeltaStream) -> Requeue | None:
        """Ask for room within the limits of the job's key and tenant; return the way back to the queue when there is none."""
        wait_s = await self._admission.wait_s(job)
        if wait_s is None:
            return None
        # No attempt is counted: nothing is wrong with the job, its turn comes when its key or tenant has room.
        return Requeue(
            job.id, job.lease_no, "handed_back", "limited", stream.last_seq, delay_s=wait_s, batch_size=job.batch_size
        )

    async def _last_chunks(self, stream: DeltaStream) -> list[DeltaChunk]:
        """The attempt is over: who cancels now comes too late, and the lease number tells what its outcome is worth."""
        while stream.told:
            with suppress(asyncio.CancelledError):
                return await self._deltas.settle(stream)
        return []

    def _leave(self, job: Job) -> None:
        self._slots.give_back(job.lane, job.tenant_id, job.body_bytes)
        IN_FLIGHT.labels(job.lane).dec()
        if job.lane == PREWARM:
            self.prewarming[job.model] -= 1
        current = self._running.get(job.id)
        # The same job may run here again by now, under a newer lease.
        if current is not None and current.job.lease_no == job.lease_no:
            del self._running[job.id]
            self.leases.pop(job.id, None)
