"""The worker's Celery app with a choice of batchers: `celery --app bench.timed.app worker`.

A deployment named `…@8-20` gets batches of 8, or of what has come in 20 ms; all others get our merger. In one process, so that
they take turns on the same warm worker.
"""

import re
from collections.abc import Callable

from bench.timed.batcher import TimedBatcher
from policies.catalog import Deployment
from workers.app import app
from workers.batching import Merger
from workers.engine import plane
from workers.providers.protocol import Call, Delta, Provider, Reply

__all__ = ["app"]

_TIMED = re.compile(r".*@(\d+)-(\d+)")


class Chooser(Merger):
    """Our merger, but for deployments that name a size and a timer."""

    def __init__(self, inner: Provider, slots: Callable[[Deployment], int]) -> None:
        super().__init__(inner, slots)
        self._below = inner, slots
        self._timed: dict[str, TimedBatcher] = {}

    async def call(self, call: Call, on_delta: Callable[[Delta], None] | None) -> Reply:
        name = call.deployment.name
        found = _TIMED.fullmatch(name)
        if found is None:
            return await super().call(call, on_delta)
        if name not in self._timed:
            self._timed[name] = TimedBatcher(*self._below, size=int(found[1]), timer_s=int(found[2]) / 1000)
        return await self._timed[name].call(call, on_delta)

    def in_flight(self, deployment: str) -> int:
        timed = self._timed.get(deployment)
        return super().in_flight(deployment) if timed is None else timed.in_flight


# Nothing in the product asks for such a choice, so it has no setting for it.
vars(plane)["Merger"] = Chooser
