"""The merger: a provider that lets jobs share the upstream calls of another provider."""

import asyncio
from collections.abc import Callable

from policies.catalog import Deployment
from workers.batching.lane import Lane
from workers.batching.parcel import OnDelta, Waiting
from workers.providers.protocol import Call, Provider, ProviderError, Reply, WarmReport


class Merger:
    """Makes the calls of deployments that allow it (`merge_items` > 1) over as few upstream calls as serve them best.

    While the deployment has free slots, calls that come in the same turn of the loop leave together; when they are all taken,
    calls gather, and leave in batches as slots come free, spaced evenly by `policies.pacing`. What cannot be shared (streams,
    chats) waits for a slot in the same order. Calls to other deployments go straight through.

    Each call keeps its own time limit, from the moment that it was handed over. A call that is cancelled leaves its batch: before
    the start it is not asked for, afterwards its part of the answer is dropped, and with the last of a batch the upstream call
    is cancelled too.

    Args:
        inner: makes upstream calls.
        slots: tells how many upstream calls to a deployment may be under way in this process now.
    """

    def __init__(self, inner: Provider, slots: Callable[[Deployment], int]) -> None:
        self._inner = inner
        self._slots = slots
        self._lanes: dict[str, Lane] = {}

    async def call(self, call: Call, on_delta: OnDelta | None) -> Reply:
        """Run one call, alone or together with others; see `Provider.call`."""
        if call.deployment.merge_items <= 1:
            return await self._inner.call(call, on_delta)
        lane = self._lane(call.deployment)
        waiting = Waiting.of(call, on_delta, asyncio.get_running_loop())
        lane.enter(waiting)
        try:
            async with asyncio.timeout(call.timeout_s):
                return await waiting.answer
        except TimeoutError:
            message = f"the attempt's limit of {call.timeout_s:g} s passed"
            raise ProviderError("timeout", message, retryable=True) from None
        finally:
            lane.leave(waiting)

    async def warm(self, deployment: Deployment) -> WarmReport:
        """Warm the provider below."""
        return await self._inner.warm(deployment)

    def in_flight(self, deployment: str) -> int:
        """Upstream calls under way to the deployment of this name; 0 for one that doesn't share calls."""
        lane = self._lanes.get(deployment)
        return 0 if lane is None else lane.in_flight

    def slots_changed(self) -> None:
        """There may be more slots than before: see who may start. Not needed for slots that come free by calls that end."""
        for lane in self._lanes.values():
            lane.look_again()

    async def aclose(self) -> None:
        """Cut off what is under way, and close the provider below."""
        for lane in self._lanes.values():
            await lane.close()
        await self._inner.aclose()

    def _lane(self, deployment: Deployment) -> Lane:
        lane = self._lanes.get(deployment.name)
        if lane is None:
            lane = self._lanes[deployment.name] = Lane(self._inner, self._slots, deployment)
        return lane
