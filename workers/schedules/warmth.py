"""Keeping warm: pings deployments in the windows of keep_warm schedules, through the pools that live calls use.

Every worker process does it for itself, because every process has connections and models of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.failures import DATABASE_ERRORS
from core.store.schedule_runs import Window, count_pings, warm_windows
from core.telemetry.metrics import KEEP_WARM_PINGS
from policies.catalog import Catalog
from workers.providers.protocol import WarmReport

_log = structlog.get_logger(__name__)
_LOOK_S: Final = 5.0
_REFUSED: Final = (401, 403)
_ILL: Final = 500


class WarmthKeeper:
    """One in a worker process.

    Args:
        engine: connections with the worker's role.
        catalog: returns the catalog in force.
        warm: warms a deployment, by its name, as cheaply as can be; never raises.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Callable[[], Catalog],
        warm: Callable[[str], Awaitable[WarmReport]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._warm = warm
        self._clock = clock
        self._pinged_at: dict[str, float] = {}

    async def run(self) -> None:
        """Keep warm for ever; the engine cancels it."""
        while True:
            try:
                await self.once()
            except DATABASE_ERRORS as error:
                _log.warning("keep_warm_failed", error=type(error).__name__)
            await asyncio.sleep(_LOOK_S)

    async def once(self) -> int:
        """Ping what is due; return how many deployments were."""
        windows = await warm_windows(self._engine)
        wanted = self._due(windows)
        names = list(dict.fromkeys(name for due in wanted.values() for name in due))
        reports = dict(zip(names, await asyncio.gather(*(self._warm(name) for name in names)), strict=True))
        for report in reports.values():
            KEEP_WARM_PINGS.labels("failed" if _failed(report) else "succeeded").inc()
        for run_id, due in wanted.items():
            failed = sum(_failed(reports[name]) for name in due)
            await count_pings(self._engine, run_id, len(due), failed)
        return len(names)

    def _due(self, windows: list[Window]) -> dict[UUID, list[str]]:
        """Return the deployments to be pinged now, for each window that wants them."""
        now = self._clock()
        due: dict[UUID, list[str]] = {}
        for window in windows:
            template = orjson.loads(window.template)
            names = [
                name
                for name in self._deployments(template)
                if name not in self._pinged_at or now - self._pinged_at[name] >= template["every_s"]
            ]
            if names:
                due[window.run_id] = names
        for names in due.values():
            self._pinged_at.update(dict.fromkeys(names, now))
        return due

    def _deployments(self, template: Mapping[str, Any]) -> list[str]:
        catalog = self._catalog()
        known = {deployment.name for deployment in catalog.deployments}
        served = [each.name for model in template["models"] for each in catalog.deployments_for(catalog.resolve(model))]
        return [name for name in dict.fromkeys((*template["deployments"], *served)) if name in known]


def _failed(report: WarmReport) -> bool:
    """Whether live calls would fare badly there too: nobody answers, the key is refused, or the server is ill."""
    status = report.status
    return report.error is not None or (status is not None and (status in _REFUSED or status >= _ILL))
