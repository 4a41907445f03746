"""Renewing the lease: one heartbeat per process, on a thread and a connection of its own, by the database's clock.

The event loop may be busy and the pool exhausted; the lease must not depend on either.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import connect
from core.presence import Presence
from core.settings import Settings
from core.store.failures import DATABASE_ERRORS
from core.telemetry.metrics import snapshot

_log = structlog.get_logger(__name__)


class Heartbeat:
    """Renews a process's lease until stopped.

    Args:
        settings: where the database is.
        presence: who we are.
        every_s: seconds between renewals.
        held: returns (job, lease number) of the jobs in this process; called on the heartbeat's thread.
        gone: told the jobs whose lease this process no longer holds; called on the heartbeat's thread.
        stray: told the jobs that the database thinks are here and that were not twice in a row: a claim whose answer was lost.
        silent: told when the lease must have run out because nothing could be renewed; called on the heartbeat's thread.
        health: returns what the process's row should say of it.
    """

    def __init__(
        self,
        settings: Settings,
        presence: Presence,
        every_s: float,
        *,
        held: Callable[[], Mapping[UUID, int]],
        gone: Callable[[dict[UUID, int]], None],
        stray: Callable[[dict[UUID, int]], None],
        silent: Callable[[], None],
        health: Callable[[], dict[str, object]],
    ) -> None:
        self._settings = settings
        self._presence = presence
        self._every_s = every_s
        self._held = held
        self._gone = gone
        self._stray = stray
        self._suspects: dict[UUID, int] = {}
        self._silent = silent
        self._health = health
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="heartbeat", daemon=True)
        self.first = threading.Event()
        self.renewed_at = time.monotonic()

    @property
    def valid(self) -> bool:
        """Whether the lease, as far as this process can tell, has not run out."""
        return self.first.is_set() and time.monotonic() - self.renewed_at < self._presence.lease_s

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the renewal under way, and leave the list of processes."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._every_s + self._settings.database_connect_timeout_s)

    def _compare(self, held: Mapping[UUID, int], seen: Mapping[UUID, int]) -> None:
        lost = {job: lease for job, lease in held.items() if seen.get(job) != lease}
        if lost:
            self._gone(lost)
        suspects = {job: lease for job, lease in seen.items() if held.get(job) != lease}
        strays = {job: lease for job, lease in suspects.items() if self._suspects.get(job) == lease}
        if strays:
            self._stray(strays)
        self._suspects = suspects

    def _told(self) -> tuple[str | None, dict[str, object]]:
        """Return what the process's row says beside the lease, which does not depend on it."""
        try:
            return snapshot(), self._health()
        except Exception:  # noqa: BLE001 - the loop may change what is looked at here at any moment
            _log.exception("health_not_told")
            return None, {}

    async def _renew(self, engine: AsyncEngine, began: float) -> None:
        held = dict(self._held())
        metrics, health = self._told()
        async with asyncio.timeout(self._presence.lease_s):
            seen = await self._presence.renew(engine, metrics, health)
        # The lease counts from before the statement: the database's clock may have stamped it at any moment since.
        self.renewed_at = began
        self.first.set()
        self._compare(held, seen)

    async def _run(self) -> None:
        engine = connect(self._settings, "coatcheck_worker", pool_size=1, name="coatcheck-heartbeat")
        warned = False
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                await self._renew(engine, began)
            except Exception as error:  # noqa: BLE001 - without this thread a worker that looks alive would claim nothing any more
                if time.monotonic() - self.renewed_at > self._presence.lease_s:
                    self._silent()
                if not warned:
                    expected = isinstance(error, DATABASE_ERRORS)
                    _log.warning("heartbeat_failed", error=type(error).__name__, exc_info=None if expected else error)
                warned = True
            else:
                warned = False
            pause = min(self._every_s, 1.0) if warned else self._every_s
            await asyncio.to_thread(self._stop.wait, max(0.05, pause - (time.monotonic() - began)))
        try:
            await self._presence.leave(engine)
        except DATABASE_ERRORS:
            _log.info("goodbye_not_stored")
        await engine.dispose()
