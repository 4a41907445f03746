"""Upkeep of the store: at every start, every few minutes, and when the maintenance lane is rung."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.presence import bury_dead
from core.settings import CacheSettings, Settings
from core.store.failures import DATABASE_ERRORS
from core.store.forgotten import forget_keys, let_in_forgotten
from core.store.semantic import retire_semantic
from core.store.upkeep import drop_weeks, keep_partitions, retire_batch

_log = structlog.get_logger(__name__)
# Also without beat: nothing that keeps the store alive hangs on one process.
_EVERY_S = 300.0
# Between batches others get their turn at the disk.
_BREATH_S = 0.1


class Maintenance:
    """Keeps the store small in the background, a small batch at a time."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._retention = timedelta(days=settings.retention_days)
        # A short retention (tests, demos) should not wait for minutes.
        self._every_s = min(_EVERY_S, max(1.0, self._retention.total_seconds() / 2))
        self._wake = asyncio.Event()
        self._kept = CacheSettings()

    def wake(self) -> None:
        """Look soon."""
        self._wake.set()

    async def run(self) -> None:
        """Keep for ever; the engine cancels it."""
        while True:
            try:
                await self.once()
            except DATABASE_ERRORS as error:
                _log.warning("maintenance_failed", error=type(error).__name__)
            try:
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def once(self) -> None:
        """Make weeks ahead, drop weeks behind, see to forgotten keys, and delete what is over in batches until nothing is."""
        await keep_partitions(self._engine)
        dropped = await drop_weeks(self._engine, self._retention)
        if dropped:
            _log.info("weeks_dropped", weeks=",".join(dropped))
        await bury_dead(self._engine)
        # `engine.forgotten` does this every few seconds, as far as a job's statements are given the time for it.
        if forgotten := await let_in_forgotten(self._engine):
            _log.warning("held_back_jobs_let_in", jobs=sum(forgotten.values()))
        await forget_keys(self._engine)
        retired = 0
        while batch := await retire_batch(self._engine, self._retention):
            retired += batch
            await asyncio.sleep(_BREATH_S)
        if retired:
            _log.info("jobs_retired", rows=retired)
        await self._retire_semantic()

    async def _retire_semantic(self) -> None:
        kept = self._kept
        bounds = {"cap": kept.semantic_entries, "shadows": kept.shadow_records}
        while gone := await retire_semantic(self._engine, **bounds, keep_shadows=timedelta(days=kept.shadow_days)):
            _log.info("semantic_retired", rows=gone)
            await asyncio.sleep(_BREATH_S)
