"""The engine: everything a worker process does besides listening for doorbells.

It lives on a thread of its own with one event loop. Celery's threads hand it doorbells; it claims, runs, finishes. Without
a broker it goes on by its sweep. Stopping means: claim no more, let what runs finish within the grace period, hand back the rest.
"""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import structlog
import uvloop

from core.catalog import LiveCatalog
from core.presence import Presence
from core.settings import Settings, WebhookSettings, WorkerSettings
from workers.engine.claims import ClaimReport
from workers.engine.loop import EngineLoop

_log = structlog.get_logger(__name__)


class Engine:
    """One per worker process, as Celery's threads see it: started, told of doorbells, stopped."""

    def __init__(self, settings: Settings, worker: WorkerSettings, webhooks: WebhookSettings) -> None:
        self._settings = settings
        self._worker = worker
        self._webhooks = webhooks
        self._live_catalog = LiveCatalog(settings.catalog, settings.simulator_url)
        self.presence = Presence("worker", worker.lanes, worker.lease_s)
        self._stopping = False
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the engine's thread and wait until it can claim (or until the database is known to be away).

        Raises:
            Exception: whatever kept the engine from starting.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def claim(self, lane: str) -> dict[str, Any]:
        """Claim the ready jobs of ``lane`` now; return what was claimed. Called by the doorbell's task."""
        if self._loop is None or self._stopping:
            return ClaimReport(lane, 0, note="stopping").as_dict()
        return asyncio.run_coroutine_threadsafe(self._on_loop.claim(lane), self._loop).result(timeout=60).as_dict()

    def stop_claiming(self) -> None:
        """Claim nothing more; what runs goes on."""
        self._stopping = True
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # its loop has just ended
                self._loop.call_soon_threadsafe(lambda: self._on_loop.pause())  # noqa: PLW0108 - it may not be made yet

    def stop(self) -> None:
        """Finish what can finish within the grace period, hand back the rest, and end the thread."""
        self.stop_claiming()
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(lambda: self._on_loop.stop())  # noqa: PLW0108 - as above
            self._thread.join()

    def _main(self) -> None:
        try:
            uvloop.run(self._run())
        except BaseException as error:  # noqa: BLE001 - start() raises it where Celery sees it
            self._failure = error
            _log.exception("engine_failed")
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Made in one go: whatever other threads ask of the loop from here on comes after it.
        self._on_loop = EngineLoop(
            self._settings, self._worker, self._webhooks, self._live_catalog, self.presence,
            stopping=lambda: self._stopping,
        )  # fmt: skip
        await self._on_loop.run(ready=self._ready.set)
