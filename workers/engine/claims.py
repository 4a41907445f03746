"""Claiming: one claim of a lane at a time, as much as there is room for, again as long as there may be more.

No timer sets the size of a batch. An idle process claims the one job there is; a busy one finds several by the time it has room.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from core import ids
from core.direct import Row
from core.store.failures import DATABASE_ERRORS
from core.store.work import Room
from core.telemetry.metrics import CLAIM_JOBS, CLAIMS, QUEUED_SECONDS
from workers.engine.job import Job
from workers.engine.slots import Slots

_log = structlog.get_logger(__name__)
_DATABASE_PAUSE_S = 0.5
# With a backlog and most slots taken, wait for a small part of them to come free: a claim per finished job would spend more on
# claiming than on the jobs. The sweep insists on fewer, so that slow jobs don't keep the free slots beside them empty for long.
_REFILL = 32
_CLAIMS_UNSHARED = 8
_SHOWN_IDS = 8


@dataclass(slots=True, frozen=True)
class ClaimReport:
    """What a claim brought; Celery shows it as the result of the doorbell's task."""

    lane: str
    size: int
    jobs: tuple[str, ...] = ()
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return {"lane": self.lane, "size": self.size, "jobs": list(self.jobs), "note": self.note}


class LaneClaimer:
    """Claims the jobs of one lane.

    Args:
        lane: which lane.
        slots: the process's counts.
        free: returns how many more jobs of each model can be started.
        short: told of models that have more jobs than there was room for.
        again: wakes a lane that was passed over while another one's claim was under way.
        claim: the statement: (lane, room) to rows.
        start: begins an attempt at a claimed job, in the order given.
        ring: rings the lane's doorbell for other processes.
    """

    def __init__(
        self,
        lane: str,
        slots: Slots,
        *,
        free: Callable[[], Mapping[str, int]],
        short: Callable[[Iterable[str]], None],
        again: Callable[[str], None],
        claim: Callable[[str, Room], Awaitable[Sequence[Row]]],
        start: Callable[[Job], None],
        ring: Callable[[str], None],
    ) -> None:
        self.lane = lane
        self._slots = slots
        self._free = free
        self._short = short
        self._again = again
        self._claim = claim
        self._start = start
        self._ring = ring
        self._wake = asyncio.Event()
        self._callers: list[asyncio.Future[ClaimReport]] = []
        self._claiming = asyncio.Lock()
        self._backlog = False
        self._unshared = 0
        self._insist = False
        self._untold_size = 0
        self._untold_jobs: list[str] = []
        self.paused = False

    def wake(self, *, insist: bool = False) -> None:
        """Look for work soon; ``insist`` for a single free slot too."""
        self._insist = self._insist or insist
        self._wake.set()

    def slot_freed(self) -> None:
        """Look again if there was more than could be taken."""
        if self._backlog:
            self._wake.set()

    async def claim_now(self) -> ClaimReport:
        """Look for work now; return what was claimed since the last such look: the doorbell's way in."""
        if self.paused:
            return ClaimReport(self.lane, 0, note="stopping")
        if not self._slots.may_take(self.lane):
            self._backlog = True
            return ClaimReport(self.lane, 0, note="no free slot")
        caller: asyncio.Future[ClaimReport] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._wake.set()
        return await caller

    async def settle(self) -> None:
        """Claim nothing more, and wait until a claim under way has started its jobs."""
        self.paused = True
        async with self._claiming:
            pass

    async def run(self) -> None:
        """Claim for ever; the engine cancels it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            callers, self._callers = self._callers, []
            report = ClaimReport(self.lane, 0)
            try:
                async with self._claiming:
                    report = await self._claim_what_fits()
            except DATABASE_ERRORS as error:
                _log.warning("claim_failed", lane=self.lane, error=type(error).__name__)
                self._backlog = True
                report = ClaimReport(self.lane, 0, note="database not available")
                await asyncio.sleep(_DATABASE_PAUSE_S)
                self._wake.set()
            finally:
                for caller in callers:
                    if not caller.done():
                        caller.set_result(self._tell(report.note))

    def _tell(self, note: str) -> ClaimReport:
        """Report what was claimed since the last report: a hint or a freed slot may have been faster than the doorbell."""
        size, jobs = self._untold_size, tuple(self._untold_jobs)
        self._untold_size, self._untold_jobs = 0, []
        return ClaimReport(self.lane, size, jobs, note)

    async def _claim_what_fits(self) -> ClaimReport:
        if self.paused or not self._slots.may_take(self.lane) or not self._worth_it():
            self._backlog = True
            return ClaimReport(self.lane, 0, note="no free slot")
        free = self._free()
        room = self._slots.room(self.lane, free)
        with self._slots.promise(room, self._again):
            rows = await self._claim_fairly(room)
            jobs = [Job.of(row, len(rows)) for row in rows]
            for job in jobs:
                self._start(job)
        CLAIMS.labels(self.lane, "yes" if rows else "no").inc()
        self._backlog = self._may_be_more(room, jobs, len(free))
        if jobs:
            CLAIM_JOBS.labels(self.lane).observe(len(jobs))
            QUEUED_SECONDS.labels(self.lane).observe(jobs[0].queued_ms / 1000)
        if self._backlog:
            if len(jobs) == room.most:
                self._ring(self.lane)
            if jobs:
                self._wake.set()
        self._untold_size += len(jobs)
        self._untold_jobs += [ids.encode(ids.JOB, job.id) for job in jobs[: _SHOWN_IDS - len(self._untold_jobs)]]
        return ClaimReport(self.lane, len(jobs))

    async def _claim_fairly(self, room: Room) -> Sequence[Row]:
        """Let others go first while a tenant holds its full share; if nobody else waits, nobody is kept waiting."""
        self._unshared -= 1
        if room.full_tenants and self._unshared < 0:
            rows = await self._claim(self.lane, room)
            if rows:
                return rows
            # Asking each time would double the price of every claim of a tenant that is alone.
            self._unshared = _CLAIMS_UNSHARED
        return await self._claim(self.lane, Room(room.most, room.body_bytes, room.models))

    def _worth_it(self) -> bool:
        insist, self._insist = self._insist, False
        # By what this lane holds, not by what it might hold: a lane that lives on its reserved slots takes them one by one.
        few = max(1, self._slots.by_lane[self.lane] // _REFILL)
        return insist or not self._backlog or self._slots.free(self.lane) >= min(few, self._slots.claim_limit)

    def _may_be_more(self, room: Room, jobs: Sequence[Job], models: int) -> bool:
        """Tell whether a limit, and not the end of the queue, ended the claim."""
        taken = Counter(job.model for job in jobs)
        used_up = [model for model, count in taken.items() if count >= room.models.get(model, 0)]
        if used_up:
            self._short(used_up)
        if used_up or len(jobs) >= room.most:
            return True
        if sum(job.body_bytes for job in jobs) * 2 > room.body_bytes:
            return True
        # A model without a free slot was not even asked for.
        return len(room.models) < models
