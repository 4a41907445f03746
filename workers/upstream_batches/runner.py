"""The part of a worker that feeds Batch APIs: opens batches when it is time, and works on those that are due.

Any number of workers may do this at once. Each looks once a second or so; a batch is worked on by the one that leased it.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.announce import Announcer
from core.direct import Row
from core.settings import Settings, WorkerSettings
from core.store.failures import DATABASE_ERRORS
from core.store.upstream_batches import LeaseLost, Opening, UpstreamBatch, UpstreamBatchStore
from policies.catalog import Catalog, Deployment
from workers.providers.protocol import ProviderError
from workers.providers.transport import PooledTransport
from workers.upstream_batches.api import BatchApi
from workers.upstream_batches.doors import Doors, OpenDoors
from workers.upstream_batches.outcomes import Outcomes
from workers.upstream_batches.steps import Later, Steps

_log = structlog.get_logger(__name__)

_LEASE_S: Final = 60.0
_AT_ONCE: Final = 4
_OPEN_MOST: Final = 16
#: For so long an upstream that took no batch gets its bulk jobs one by one.
_PAUSED_S: Final = 600.0
_TICK_S: Final = 1.0
#: Without any deployment that has a Batch API there may still be a batch from before an edit of the catalog.
_IDLE_TICK_S: Final = 15.0
_STOP_S: Final = 2.0


class UpstreamBatches:
    """One per worker process that serves the lane ``bulk``.

    Args:
        engine: connections with the worker's role.
        process_id: who we are.
        settings, worker: the process's settings.
        catalog: returns the catalog in force.
        announcer: tells waiters.
        start: begins an attempt at a job of a row of ``claim.sql``: one that no Batch API takes.
        work: told of each lane that a commit gave work, `webhooks` among them.
        doors: caches and limits, which jobs pass on their way into a batch and out of it; none of them when left out.

    Attributes:
        paused: when set, no batch is opened or taken up.
    """

    def __init__(  # noqa: PLR0913 - the parts of a worker that a batch needs
        self,
        engine: AsyncEngine,
        process_id: UUID,
        settings: Settings,
        worker: WorkerSettings,
        *,
        catalog: Callable[[], Catalog],
        announcer: Announcer,
        start: Callable[[Row], None],
        work: Callable[[str], None],
        doors: Doors | None = None,
    ) -> None:
        doors = doors or OpenDoors()
        self._catalog = catalog
        self._store = UpstreamBatchStore(engine, process_id, _LEASE_S)
        self._transport = PooledTransport()
        self._collect_s = worker.upstream_batch_collect_s
        self._tick_s = min(_TICK_S, worker.upstream_batch_collect_s, worker.upstream_batch_poll_s)
        self._idle_tick_s = min(_IDLE_TICK_S, 50 * self._tick_s)
        self._most = worker.upstream_batch_max_jobs
        self._steps = Steps(
            engine, self._store, Outcomes(engine, settings.public_url, announcer, work, doors), catalog=catalog,
            api=lambda deployment: BatchApi(deployment, self._transport), start=start, most=self._most,
            poll_s=worker.upstream_batch_poll_s,
        )  # fmt: skip
        self._refused: frozenset[str] = frozenset()
        self.paused = False
        self._working: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> frozenset[str]:
        """Models whose jobs in the lane ``bulk`` are claimed here and not by the lane's claimer."""
        return frozenset(deployment.model for deployment in self._served())

    async def run(self) -> None:
        """Work for ever; the engine cancels it."""
        try:
            while True:
                try:
                    await self._look()
                except DATABASE_ERRORS as error:
                    _log.warning("upstream_batches_wait_for_database", error=type(error).__name__)
                tick = self._tick_s if self.models or self._working else self._idle_tick_s
                await asyncio.sleep(tick * random.uniform(0.8, 1.2))
        finally:
            await self._stop()

    async def _look(self) -> None:
        if any(deployment.batch_api for deployment in self._catalog().deployments):
            self._refused = await self._store.paused(_PAUSED_S)
        for deployment in self._served():
            if self.paused or len(self._working) >= _AT_ONCE:
                return
            when = Opening(self._collect_s, self._most, _OPEN_MOST, _PAUSED_S)
            opened = await self._store.open(ids.new_id(), deployment.name, deployment.model, when)
            if opened is not None:
                self._begin(opened)
        while not self.paused and len(self._working) < _AT_ONCE and (taken := await self._store.take()) is not None:
            self._begin(taken)

    def _served(self) -> list[Deployment]:
        """The first deployment of each model that has a Batch API which takes batches."""
        found: dict[str, Deployment] = {}
        for deployment in self._catalog().deployments:
            if deployment.batch_api and deployment.name not in self._refused:
                found.setdefault(deployment.model, deployment)
        return list(found.values())

    def _begin(self, batch: UpstreamBatch) -> None:
        task = asyncio.create_task(self._work(batch), name=f"upstream-batch-{batch.id}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, batch: UpstreamBatch) -> None:
        """Take step after step as long as there is one to take now, holding the lease meanwhile."""
        task = asyncio.current_task()
        holding = asyncio.create_task(self._hold(batch, task)) if task is not None else None
        later = Later(0.0)
        try:
            while True:
                step = await self._step(batch)
                if isinstance(step, Later):
                    later = step
                    break
                batch = step
        except LeaseLost:
            _log.info("upstream_batch_taken_over", batch=str(batch.id))
        except DATABASE_ERRORS as error:
            _log.warning("upstream_batch_waits_for_database", batch=str(batch.id), error=type(error).__name__)
            later = Later(self._tick_s)
        except Exception:  # noqa: BLE001 - a defect in one batch's path must not end the others; it is tried again
            _log.exception("upstream_batch_broke", batch=str(batch.id))
            later = Later(_LEASE_S, counts=True)
        finally:
            if holding is not None:
                holding.cancel()
            with suppress(*DATABASE_ERRORS):
                await asyncio.shield(self._store.release(batch, later.pause_s, counts=later.counts))

    async def _step(self, batch: UpstreamBatch) -> UpstreamBatch | Later:
        try:
            return await self._steps.take(batch)
        except ProviderError as error:
            return await self._steps.failed(batch, error)

    async def _hold(self, batch: UpstreamBatch, work: "asyncio.Task[Any]") -> None:
        """Renew the lease; stop the work when it can't be renewed before another worker may take it."""
        missed = 0.0
        pause = _LEASE_S / 6
        while missed < _LEASE_S / 2:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(pause):
                    await self._store.renew(batch)
                missed = 0.0
            except LeaseLost:
                break
            except DATABASE_ERRORS:
                missed += 2 * pause
        work.cancel()

    async def _stop(self) -> None:
        for task in self._working:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working, timeout=_STOP_S)
        await self._transport.aclose()
