"""How much a process may take on: pure counting, no I/O.

Four limits hold at once: jobs in all (with some slots kept for each other lane), jobs of each model, bytes of bodies, and one
tenant's part of a lane while others wait.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from uuid import UUID

from core.store.work import Room

_TENANT_SHARE = 3 / 4


class Slots:
    """Counts what runs in this process.

    Args:
        lanes: the lanes this process serves.
        most: most jobs in flight in all.
        reserved: slots kept free for each other lane; cut down when lanes would leave each other nothing.
        body_bytes: most bytes of bodies in flight.
        claim_limit: most jobs in one claim.
    """

    def __init__(self, lanes: Iterable[str], *, most: int, reserved: int, body_bytes: int, claim_limit: int) -> None:
        self.lanes = tuple(lanes)
        self.most = most
        self.reserved = min(reserved, most // (2 * max(1, len(self.lanes))))
        self.body_bytes = body_bytes
        self.claim_limit = claim_limit
        self.by_lane: Counter[str] = Counter()
        self.by_model: Counter[str] = Counter()
        self.bytes = 0
        self._by_tenant: Counter[tuple[str, UUID]] = Counter()

    @property
    def in_flight(self) -> int:
        """Jobs that hold a slot."""
        return self.by_lane.total()

    def capacity(self, lane: str) -> int:
        """Return how many jobs of ``lane`` may run when nothing else does."""
        return self.most - self.reserved * (len(self.lanes) - (lane in self.lanes))

    def free(self, lane: str) -> int:
        """Return how many more jobs of ``lane`` may run now."""
        kept = sum(max(0, self.reserved - self.by_lane[other]) for other in self.lanes if other != lane)
        return max(0, self.most - self.in_flight - kept)

    def room(self, lane: str, limits: Mapping[str, int]) -> Room:
        """Return what a claim for ``lane`` may take now.

        Args:
            lane: which lane.
            limits: most jobs in flight for each model.
        """
        most = min(self.free(lane), self.claim_limit)
        models = {model: free for model, limit in limits.items() if (free := limit - self.by_model[model]) > 0}
        return Room(most, max(0, self.body_bytes - self.bytes), models, self.full_tenants(lane))

    def full_tenants(self, lane: str) -> frozenset[UUID]:
        """Return the tenants that hold their share of the lane's slots: others go first, if there are any."""
        share = max(1, int(self.capacity(lane) * _TENANT_SHARE))
        return frozenset(tenant for (of, tenant), held in self._by_tenant.items() if of == lane and held >= share)

    def may_take(self, lane: str) -> bool:
        """Tell whether the bodies in flight leave room for another claim."""
        return self.bytes < self.body_bytes and self.free(lane) > 0

    def take(self, lane: str, model: str, tenant: UUID, body_bytes: int) -> None:
        """Count a job in."""
        self.by_lane[lane] += 1
        self.by_model[model] += 1
        self._by_tenant[lane, tenant] += 1
        self.bytes += body_bytes

    def give_back(self, lane: str, model: str, tenant: UUID, body_bytes: int) -> None:
        """Count a job out."""
        self.by_lane[lane] -= 1
        self.by_model[model] -= 1
        self._by_tenant[lane, tenant] -= 1
        if not self._by_tenant[lane, tenant]:
            del self._by_tenant[lane, tenant]
        self.bytes -= body_bytes
