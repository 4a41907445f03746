"""The sweep: once a second every worker looks for what nobody rang for.

Due jobs, expired jobs, jobs of dead workers, due webhooks, and lanes with ready jobs. It is the promise that a lost doorbell, an
empty Redis or a missing beat delays a job by a second or so and loses none. Rows are taken with SKIP LOCKED, so any number of
workers may sweep at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import Announcer
from core.store.failures import DATABASE_ERRORS
from core.store.work import expire_late, glance, let_in_due, lose_orphans
from core.telemetry.metrics import SWEPT
from workers.rounds import Rounds

_log = structlog.get_logger(__name__)
_ROUNDS = 20
_SOONEST_S = 0.01


class Sweep:
    """Looks for unattended work.

    Args:
        engine: connections with the worker's role.
        public_url: what absolute URLs in webhook payloads start with.
        every_s: seconds between looks, give or take a tenth so that workers spread out.
        lanes: the job lanes of this process.
        announcer: tells waiters.
        found: told which of our lanes hold ready jobs, and for which models; and how many workers there are.
        wake: wakes a lane that got work, and ``webhooks`` when deliveries are due.
        ring: rings the doorbell of lanes that got work, for other processes.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        public_url: str,
        every_s: float,
        lanes: tuple[str, ...],
        announcer: Announcer,
        *,
        found: Callable[[Mapping[str, frozenset[str]], int], None],
        wake: Callable[[str], None],
        ring: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._public_url = public_url
        self._rounds = Rounds(self.once, every_s, soonest_s=_SOONEST_S, failed="sweep_failed")
        self._lanes = lanes
        self._announcer = announcer
        self._found = found
        self._wake = wake
        self._ring = ring

    async def run(self) -> None:
        """Sweep for ever; the engine cancels it."""
        await self._rounds.run()

    async def once(self) -> float | None:
        """Look once and act on what is there; return in how many seconds the next waiting job is due, if one waits.

        None as well where a move failed: what is due still would have the next look follow at once, for ever.
        """
        seen = await glance(self._engine, self._lanes)
        self._found(seen.lanes, seen.workers)
        if seen.deliveries:
            self._wake("webhooks")
        due = seen.due_in_s is not None and seen.due_in_s <= 0
        moves = ((seen.lost, self._lose), (seen.late, self._expire), (due, self._let_in))
        made = [await self._by_itself(move) for wanted, move in moves if wanted]
        return seen.due_in_s if all(made) else None

    async def _by_itself(self, move: Callable[[], Awaitable[None]]) -> bool:
        """A row that one move stumbles over, in every worker and every second, must not keep the others from being made."""
        try:
            await move()
        except DATABASE_ERRORS as error:
            _log.warning("sweep_failed", error=type(error).__name__, move=move.__name__)
            return False
        return True

    async def _lose(self) -> None:
        for _ in range(_ROUNDS):
            ended, lanes, taken = await lose_orphans(self._engine, self._public_url)
            if not taken:
                return
            _log.warning("orphans_taken", jobs=taken)
            SWEPT.labels("lose").inc(taken)
            self._announcer.moved(ended.jobs)
            self._spread(lanes)
            self._pushed(ended.deliveries)

    async def _expire(self) -> None:
        for _ in range(_ROUNDS):
            ended = await expire_late(self._engine, self._public_url)
            if not ended.jobs:
                return
            SWEPT.labels("expire").inc(len(ended.jobs))
            self._announcer.moved(ended.jobs)
            self._spread(ended.lanes)
            self._pushed(ended.deliveries)

    async def _let_in(self) -> None:
        for _ in range(_ROUNDS):
            lanes = await let_in_due(self._engine)
            if not lanes:
                return
            SWEPT.labels("let_in").inc(sum(lanes.values()))
            self._spread(lanes)

    def _spread(self, lanes: Iterable[str]) -> None:
        for lane in lanes:
            self._wake(lane)
            self._ring(lane)

    def _pushed(self, deliveries: int) -> None:
        if deliveries:
            self._wake("webhooks")
            self._ring("webhooks")
