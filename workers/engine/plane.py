"""The model plane of a worker process: catalog, deployments and providers, put together, followed and kept warm."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis

from core.catalog import LiveCatalog
from core.telemetry.metrics import UPSTREAM_CONNECTIONS
from policies.catalog import Catalog, Deployment
from workers.batching import Merger
from workers.providers import open_providers
from workers.providers.protocol import Call, Delta, Provider, Reply, WarmReport
from workers.providers.upstream import UpstreamProvider
from workers.routing.coordinator import Coordinator
from workers.routing.router import Router
from workers.routing.state import clock

# Kept connections are closed after 30 s without a call.
_QUIET_S: Final = 20.0
# Who was not called for so long may be cold: keeping everything warm for ever would be calls for nothing.
_FORGOTTEN_S: Final = 600.0


class _Counted:
    """A provider whose calls count against the requests a minute of deployments that share calls between jobs.

    Of other deployments each job is a call, which the router counts when it sends it there.
    """

    def __init__(self, inner: Provider, router: Router) -> None:
        self._inner = inner
        self._router = router

    async def call(self, call: Call, on_delta: Callable[[Delta], None] | None) -> Reply:
        self._router.called(call.deployment)
        return await self._inner.call(call, on_delta)

    async def warm(self, deployment: Deployment) -> WarmReport:
        return await self._inner.warm(deployment)

    async def aclose(self) -> None:
        await self._inner.aclose()


class ModelPlane:
    """One per worker process; made on the event loop that will use it.

    Args:
        live: the catalog that is followed.
        redis: where workers share limits and news of deployments.
        process_id: who we are.
        workers: returns how many worker processes live.
        freed: called when a model that had no room has some again.
    """

    def __init__(
        self, live: LiveCatalog, redis: "Redis", process_id: UUID, workers: Callable[[], int], freed: Callable[[], None]
    ) -> None:
        self._live = live
        self._warming: asyncio.Future[None] | None = None
        self.router = Router(live.current, freed, calls=self._calls)
        self.coordinator = Coordinator(redis, self.router, process_id, workers, heard=self._heard)
        self._inner = open_providers()
        self._mergers = {
            name: Merger(_Counted(provider, self.router), self._slots) for name, provider in self._inner.items()
        }
        self._shown: Counter[tuple[str, str]] = Counter()

    @property
    def providers(self) -> Mapping[str, Provider]:
        """By the provider names of the catalog."""
        return self._mergers

    async def open(self) -> None:
        """Warm the deployments and exchange once: nobody may take slots that another worker holds."""
        await asyncio.gather(self.coordinator.once(), self._warm(list(self.router.states)))

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run in the background, by name."""
        return {
            "routing": self.coordinator.run(),
            "catalog": self._live.follow(self._adopt),
            "warmth": self._keep_warm(),
        }

    async def close(self) -> None:
        """Give back what is held, and close all connections."""
        await self.coordinator.leave()
        for merger in self._mergers.values():
            await merger.aclose()

    def count_connections(self) -> None:
        """Bring the metrics of connections up to date. Called on the heartbeat's thread."""
        for provider in (each for each in self._inner.values() if isinstance(each, UpstreamProvider)):
            for deployment, counts in list(provider.connections().items()):
                for how in ("opened", "reused", "warmed"):
                    total = getattr(counts, how)
                    UPSTREAM_CONNECTIONS.labels(deployment, how).inc(total - self._shown[deployment, how])
                    self._shown[deployment, how] = total

    def _slots(self, deployment: Deployment) -> int:
        state = self.router.states.get(deployment.name)
        return 1 if state is None else state.part.slots

    def _calls(self, deployment: Deployment) -> int:
        merger = self._mergers.get(deployment.provider)
        return 0 if merger is None else merger.in_flight(deployment.name)

    def _heard(self) -> None:
        for merger in self._mergers.values():
            merger.slots_changed()

    def _adopt(self, catalog: Catalog) -> None:
        known = self.router.states
        self.router.adopt(catalog)
        # New ones, and those that have another address now.
        fresh = [name for name, state in self.router.states.items() if known.get(name) is not state]
        if fresh:
            self._warming = asyncio.ensure_future(self._warm(fresh))

    async def warm(self, name: str) -> WarmReport:
        """Warm one deployment now, through the pools of live calls."""
        state = self.router.states.get(name)
        if state is None:
            return WarmReport(error="not in the catalog any more")
        report = await self._mergers[state.deployment.provider].warm(state.deployment)
        state.record.warmed(report.connect_ms)
        return report

    async def _warm(self, names: list[str]) -> None:
        states = [state for name in names if (state := self.router.states.get(name)) is not None]
        reports = await asyncio.gather(
            *(self._mergers[state.deployment.provider].warm(state.deployment) for state in states)
        )
        for state, report in zip(states, reports, strict=True):
            state.record.warmed(report.connect_ms)

    async def _keep_warm(self) -> None:
        while True:
            await asyncio.sleep(_QUIET_S)
            now = clock()
            await self._warm(
                [
                    name
                    for name, state in self.router.states.items()
                    if _QUIET_S <= now - state.called_at <= _FORGOTTEN_S
                ]
            )
