"""What the heartbeat finds out about leases, on its own thread, brought to the engine's loop."""

import asyncio
from contextlib import suppress
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.failures import DATABASE_ERRORS
from core.store.work import abandon
from workers.engine.flight import Flight

_log = structlog.get_logger(__name__)


class Leases:
    """Called on the heartbeat's thread; to be made on the engine's loop.

    Args:
        engine: connections with the worker's role.
        process_id: who we are.
        flight: the jobs that run here.
    """

    def __init__(self, engine: AsyncEngine, process_id: UUID, flight: Flight) -> None:
        self._engine = engine
        self._process_id = process_id
        self._flight = flight
        self._loop = asyncio.get_running_loop()

    def gone(self, lost: dict[UUID, int]) -> None:
        """These jobs are no longer ours under these lease numbers: nothing of them may be stored."""
        self._loop.call_soon_threadsafe(self._flight.abort, list(lost), lost)

    def strayed(self, strays: dict[UUID, int]) -> None:
        """The database thinks that these jobs are here, and they are not."""
        asyncio.run_coroutine_threadsafe(self._abandon(strays), self._loop)

    def ran_out(self) -> None:
        """The lease of the process could not be renewed: others take its jobs now."""
        self._loop.call_soon_threadsafe(self._flight.abort_all)

    async def _abandon(self, strays: dict[UUID, int]) -> None:
        _log.warning("stray_leases", jobs=len(strays))
        with suppress(*DATABASE_ERRORS):
            await abandon(self._engine, self._process_id, strays)
