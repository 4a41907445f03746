"""Latency classes: counts whether jobs end within their lane's target, and keeps more slots for lanes whose jobs don't."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from core.telemetry.metrics import LANE_TARGETS, RESERVED
from policies.latency_classes import Tally, reservations
from workers.engine.job import Job
from workers.engine.slots import Slots

_log = structlog.get_logger(__name__)
_EVERY_S: Final = 5.0


class LaneClasses:
    """Watches the lanes of one process.

    Args:
        slots: whose reservations follow the lanes that are late.
        targets: returns the seconds from due to stored that each lane aims at; lanes without a target are missing.
    """

    def __init__(self, slots: Slots, targets: Callable[[], Mapping[str, float]]) -> None:
        self._slots = slots
        self._targets = targets
        self._met: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()

    def ended(self, job: Job) -> None:
        """A job's end is stored."""
        target = self._targets().get(job.lane)
        if target is None:
            return
        met = job.queued_ms + job.running_ms() <= target * 1000
        (self._met if met else self._missed)[job.lane] += 1
        LANE_TARGETS.labels(job.lane, "met" if met else "missed").inc()

    def settle(self) -> None:
        """Let the reservations follow what was counted since the last time."""
        tallies = {lane: Tally(self._met[lane], self._missed[lane]) for lane in self._slots.lanes}
        self._met.clear()
        self._missed.clear()
        before = self._slots.reserved
        after = reservations(before, tallies, fewest=self._slots.fewest, most=self._slots.most)
        if after != before:
            _log.debug("lanes_reserved", **after)
            self._slots.reserve(after)
        for lane, kept in after.items():
            RESERVED.labels(lane).set(kept)

    async def run(self) -> None:
        """Follow for ever; the engine cancels it."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.settle()
