"""The claimers of a process's lanes: when each looks for jobs, and of which models it may take how many."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from core.direct import Row
from core.store.work import Room
from policies.giving_way import spare
from workers.engine.claims import ClaimReport, LaneClaimer
from workers.engine.flight import PREWARM, Flight
from workers.engine.slots import Slots
from workers.routing.router import Router

# Workers that follow a hint which reached them all.
_LOOKING: Final = 3


class Claimers:
    """One claimer for each lane of jobs that a process serves.

    Args:
        lanes: which lanes.
        slots: the process's counts.
        router: knows the free slots of each model.
        flight: begins attempts.
        batched: returns the models whose bulk jobs are left to a Batch API.
        workers: returns how many worker processes live.
        claim: the statement: (lane, room) to rows.
        ring: rings a lane's doorbell for other processes.
    """

    def __init__(
        self,
        lanes: Sequence[str],
        slots: Slots,
        router: Router,
        flight: Flight,
        *,
        batched: Callable[[], frozenset[str]],
        workers: Callable[[], int],
        claim: Callable[[str, Room], Awaitable[Sequence[Row]]],
        ring: Callable[[str], None],
    ) -> None:
        self._router = router
        self._flight = flight
        self._batched = batched
        self._workers = workers
        self._waited_for: frozenset[str] = frozenset()
        free = {"bulk": self._room_beside_batches, PREWARM: self._room_to_spare}
        self._claimers = {
            lane: LaneClaimer(
                lane, slots, free=free.get(lane, router.room), short=router.short_of, again=self.wake, claim=claim,
                start=flight.begin, ring=ring,
            )
            for lane in lanes
        }  # fmt: skip

    def __contains__(self, lane: str) -> bool:
        return lane in self._claimers

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run in the background, by name."""
        return {f"claim-{lane}": claimer.run() for lane, claimer in self._claimers.items()}

    async def claim(self, lane: str) -> ClaimReport:
        """Claim the ready jobs of ``lane``, which must be one of ours, now."""
        return await self._claimers[lane].claim_now()

    def wake(self, lane: str) -> None:
        """There may be jobs in ``lane``, which must be one of ours."""
        self._claimers[lane].wake()

    def hint(self, lane: str) -> None:
        """Follow a hint that reached every worker: with many of them only a few look, as all but one look in vain."""
        if lane in self._claimers and random.random() < _LOOKING / max(1, self._workers()):
            self._claimers[lane].wake()

    def found(self, lanes: Mapping[str, frozenset[str]]) -> None:
        """A look at the queue has shown jobs of these models in these lanes of ours."""
        self._router.waiting(frozenset().union(*lanes.values()))
        self._waited_for = frozenset().union(*(models for lane, models in lanes.items() if lane != PREWARM))
        for lane in lanes:
            self._claimers[lane].wake(insist=True)

    def slot_freed(self) -> None:
        """Look again where there was more than could be taken."""
        for claimer in self._claimers.values():
            claimer.slot_freed()

    def pause(self) -> None:
        """Begin no more claims."""
        for claimer in self._claimers.values():
            claimer.paused = True

    async def settle(self) -> None:
        """Begin no more claims, and wait until those under way have started their jobs."""
        await asyncio.gather(*(claimer.settle() for claimer in self._claimers.values()))

    def _room_beside_batches(self) -> dict[str, int]:
        """Return the free slots of the models whose bulk jobs are not left to a Batch API."""
        left_out = self._batched()
        return {model: room for model, room in self._router.room().items() if model not in left_out}

    def _room_to_spare(self) -> dict[str, int]:
        """Return the slots that the lane which gives way may take."""
        return spare(self._router.room(), self._flight.prewarming, self._waited_for)
