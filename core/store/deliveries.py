"""The worker's side of webhook deliveries: claim under a lease, record outcomes, take over from the dead."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.store.failures import DATABASE_ERRORS
from core.store.statements import statement

_CLAIM = statement("webhook_claim")
_FINISH = statement("webhook_finish")
_RECOVER = statement("webhook_recover")
_DISABLE = statement("webhook_disable")

DeliveryEnd = Literal["delivered", "pending", "exhausted", "cancelled"]

_FIRST = UUID(int=0)
# Targets one claim looks at. More wait for the next claim, which goes on behind the last one.
_VISITS = 500
_RECOVER_MOST = 1000
# Two claims at once would each see the other's deliveries as not yet in flight and exceed the limit of a target. So claims take
# turns, but a process that froze in its turn must not stop the others.
_TURN = text("SELECT pg_try_advisory_xact_lock(4270197019)")
_TURN_TRIES = 40
_TURN_WAIT_S = 0.005


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A claimed delivery with all that is needed to send it. `wanted` is False when its endpoint is off or deleted."""

    id: UUID
    lease_no: int
    tries: int
    test: bool
    event_id: UUID
    tenant_id: UUID
    endpoint_id: UUID | None
    target: UUID
    url: str
    payload: str
    traceparent: str | None
    wanted: bool
    secret: bytes
    old_secret: bytes | None


@dataclass(frozen=True, slots=True)
class TryResult:
    """What to record of a try. `delay_s` matters for `pending` only; `counted` is False when nothing was tried."""

    id: UUID
    lease_no: int
    status: DeliveryEnd
    counted: bool = True
    delay_s: float = 0.0
    last_status: int | None = None
    last_error: str | None = None
    last_duration_ms: float | None = None


class DeliveryQueue:
    """Deliveries as one worker process sees them.

    Args:
        engine: connects as the worker's role.
        process_id: who holds the leases.
        lease_s: seconds until an unrecorded try may be made again; longer than a try can take.
        per_target: most deliveries in flight to one target, over all processes.
    """

    def __init__(self, engine: AsyncEngine, process_id: UUID, *, lease_s: float, per_target: int) -> None:
        self._engine = engine
        self._process_id = process_id
        self._lease_s = lease_s
        self._per_target = per_target
        self._after = _FIRST

    async def claim(self, room: int, slow: Mapping[UUID, int]) -> list[DueDelivery]:
        """Up to `room` due deliveries, now leased. `slow` caps targets below `per_target`."""
        begun_at = self._after
        claimed = await self._claim_from(begun_at, room, slow)
        if len(claimed) < room and begun_at != _FIRST and self._after == _FIRST:
            try:
                claimed += await self._claim_from(_FIRST, room - len(claimed), slow)
            except DATABASE_ERRORS:
                # What was claimed is leased by now: unsent it would wait for the lease to end.
                if not claimed:
                    raise
        return claimed

    async def _claim_from(self, after: UUID, room: int, slow: Mapping[UUID, int]) -> list[DueDelivery]:
        parameters = {
            "process_id": self._process_id,
            "lease_s": self._lease_s,
            "room": room,
            "after": after,
            "visits": _VISITS,
            "per_target": self._per_target,
            # The fewer slots are left, the less of them one target gets: some are always left for the next one's turn.
            "share": max(1, min(self._per_target, room // 4)),
            "slow_target": list(slow),
            "slow_room": list(slow.values()),
        }
        async with self._engine.begin() as connection:
            await _take_turn(connection)
            rows = (await connection.execute(_CLAIM, parameters)).all()
        claimed = [
            DueDelivery(**{name: getattr(row, name) for name in DueDelivery.__slots__}) for row in rows if row.id
        ]
        if len(claimed) == room:
            self._after = max(delivery.target for delivery in claimed)
        else:
            self._after = rows[0].last_target if rows[0].visited == _VISITS else _FIRST
        return claimed

    async def finish(self, results: Sequence[TryResult]) -> set[UUID]:
        """Record outcomes in one commit; the ids that were still ours."""
        if not results:
            return set()
        rows = sorted(results, key=lambda result: result.id)
        columns = {name: [getattr(row, name) for row in rows] for name in TryResult.__slots__}
        async with self._engine.begin() as connection:
            return set((await connection.execute(_FINISH, columns)).scalars())

    async def recover(self) -> int:
        """Free the deliveries of dead workers; how many."""
        async with self._engine.begin() as connection:
            return len((await connection.execute(_RECOVER, {"most": _RECOVER_MOST})).all())

    async def disable(self, endpoint_ids: Sequence[UUID]) -> None:
        """Switch off endpoints whose receivers are gone."""
        async with self._engine.begin() as connection:
            await connection.execute(_DISABLE, {"endpoint_id": sorted(endpoint_ids)})


async def _take_turn(connection: AsyncConnection) -> None:
    for _ in range(_TURN_TRIES):
        if (await connection.execute(_TURN)).scalar():
            return
        await asyncio.sleep(_TURN_WAIT_S)
