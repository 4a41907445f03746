"""How much a process may take on: pure counting, no I/O.

Three limits hold at once: jobs in all (with some slots kept for each other lane), bytes of bodies, and one tenant's part of a
lane while others wait. How many jobs of each model there is room for is the router's to say; what one claim may bring is not
promised to another lane's while it is under way.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from core.store.work import Room

_TENANT_SHARE = 3 / 4


class Slots:
    """Counts what runs in this process.

    Args:
        lanes: the lanes this process serves.
        most: most jobs in flight in all.
        reserved: slots kept free for each other lane; cut down when lanes would leave each other nothing. ``reserve`` changes
            them lane by lane.
        body_bytes: most bytes of bodies in flight.
        claim_limit: most jobs in one claim.
    """

    def __init__(self, lanes: Iterable[str], *, most: int, reserved: int, body_bytes: int, claim_limit: int) -> None:
        self.lanes = tuple(lanes)
        self.most = most
        self.fewest = min(reserved, most // (2 * max(1, len(self.lanes))))
        self.reserved = dict.fromkeys(self.lanes, self.fewest)
        self.body_bytes = body_bytes
        self.claim_limit = claim_limit
        self.by_lane: Counter[str] = Counter()
        self.bytes = 0
        self._promised: Counter[str] = Counter()
        # Lanes that found slots of these models promised to other lanes' claims.
        self._passed_over: dict[str, set[str]] = {}
        self._by_tenant: Counter[tuple[str, UUID]] = Counter()

    @property
    def in_flight(self) -> int:
        """Jobs that hold a slot."""
        return self.by_lane.total()

    def capacity(self, lane: str) -> int:
        """Return how many jobs of ``lane`` may run when nothing else does."""
        return self.most - sum(kept for other, kept in self.reserved.items() if other != lane)

    def free(self, lane: str) -> int:
        """Return how many more jobs of ``lane`` may run now."""
        kept = sum(max(0, kept - self.by_lane[other]) for other, kept in self.reserved.items() if other != lane)
        return max(0, self.most - self.in_flight - kept)

    def reserve(self, reserved: Mapping[str, int]) -> None:
        """Keep so many slots free for each lane from now on."""
        self.reserved = {lane: reserved.get(lane, self.fewest) for lane in self.lanes}

    def room(self, lane: str, free: Mapping[str, int]) -> Room:
        """Return what a claim for ``lane`` may take now.

        Args:
            lane: which lane.
            free: how many more jobs of each model can be started.
        """
        most = min(self.free(lane), self.claim_limit)
        models = {model: left for model, slots in free.items() if (left := slots - self._promised[model]) > 0}
        if len(models) < len(free) and (
            promised := {model for model in free.keys() - models.keys() if free[model] > 0}
        ):
            self._passed_over[lane] = promised
        return Room(most, max(0, self.body_bytes - self.bytes), models, self.full_tenants(lane))

    @contextmanager
    def promise(self, room: Room, again: Callable[[str], None]) -> Iterator[None]:
        """Keep what a claim may bring from other lanes' claims while it is under way.

        Args:
            room: of the claim.
            again: told the lanes that were passed over for its sake.
        """
        promised = Counter({model: min(slots, room.most) for model, slots in room.models.items()})
        self._promised += promised
        try:
            yield
        finally:
            self._promised -= promised
            # Only those that waited for this claim's models: a lane woken by its own claim would look again at once, for ever.
            for lane in [lane for lane, models in self._passed_over.items() if not models.isdisjoint(promised)]:
                del self._passed_over[lane]
                again(lane)

    def full_tenants(self, lane: str) -> frozenset[UUID]:
        """Return the tenants that hold their share of the lane's slots: others go first, if there are any."""
        share = max(1, int(self.capacity(lane) * _TENANT_SHARE))
        return frozenset(tenant for (of, tenant), held in self._by_tenant.items() if of == lane and held >= share)

    def may_take(self, lane: str) -> bool:
        """Tell whether the bodies in flight leave room for another claim."""
        return self.bytes < self.body_bytes and self.free(lane) > 0

    def take(self, lane: str, tenant: UUID, body_bytes: int) -> None:
        """Count a job in."""
        self.by_lane[lane] += 1
        self._by_tenant[lane, tenant] += 1
        self.bytes += body_bytes

    def give_back(self, lane: str, tenant: UUID, body_bytes: int) -> None:
        """Count a job out."""
        self.by_lane[lane] -= 1
        self._by_tenant[lane, tenant] -= 1
        if not self._by_tenant[lane, tenant]:
            del self._by_tenant[lane, tenant]
        self.bytes -= body_bytes
