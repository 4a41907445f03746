"""Looking again and again at what is due: after a while, or earlier when something is due earlier or somebody says so."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from core.store.failures import DATABASE_ERRORS

_log = structlog.get_logger(__name__)


class Rounds:
    """Makes rounds for ever. A database that fails costs one of them.

    Args:
        look: does what is due; returns in how many seconds something is due next, None when nothing is.
        every_s: longest time between two looks, give or take a tenth so that processes spread out.
        soonest_s: shortest time between two looks, unless somebody says so.
        failed: the event to log when the database fails.
    """

    def __init__(
        self, look: Callable[[], Awaitable[float | None]], every_s: float, *, soonest_s: float, failed: str
    ) -> None:
        self._look = look
        self._every_s = every_s
        self._soonest_s = soonest_s
        self._failed = failed
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def run(self) -> None:
        """Look for ever; to be cancelled."""
        while True:
            pause = self._every_s * random.uniform(0.9, 1.1)
            try:
                due_in_s = await self._look()
            except DATABASE_ERRORS as error:
                _log.warning(self._failed, error=type(error).__name__)
            else:
                if due_in_s is not None:
                    # What is due before the next look gets a look of its own, so that delays keep their word.
                    pause = min(pause, max(self._soonest_s, due_in_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
