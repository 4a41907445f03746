"""Filling the places of concurrency keys that nobody filled.

Each commit that frees a place lets in who waits for it, but passes over jobs that somebody is just cancelling or expiring. Where
that is broken off (a process killed, a connection lost), the job is still held back, and nobody of its key may come after it.
"""

import asyncio
import time
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.failures import DATABASE_ERRORS
from core.store.forgotten import let_in_forgotten
from workers.rounds import Rounds

_log = structlog.get_logger(__name__)
_EVERY_S: Final = 3.0
# A look hops through all keys with jobs held back. Where these are very many it rests so much longer, within bounds.
_SHARE: Final = 0.01
_LONGEST_REST_S: Final = 20.0


class Forgotten:
    """Looks for such places in the background.

    Args:
        engine: connections with the worker's role.
        every_s: how often it looks, in seconds; less often where a look takes long.
    """

    def __init__(self, engine: AsyncEngine, *, every_s: float = _EVERY_S) -> None:
        self._engine = engine
        self._every_s = every_s
        self._rounds = Rounds(self._once, every_s, soonest_s=every_s, failed="forgotten_check_failed")

    async def run(self) -> None:
        """Look for ever; the engine cancels it."""
        await self._rounds.run()

    async def _once(self) -> None:
        began = time.monotonic()
        try:
            lanes = await let_in_forgotten(self._engine)
        except DATABASE_ERRORS:
            await self._rest(began)
            raise
        if lanes:
            # The sweep finds them ready within a second.
            _log.warning("held_back_jobs_let_in", jobs=sum(lanes.values()))
        await self._rest(began)

    async def _rest(self, began: float) -> None:
        rest = (time.monotonic() - began) / _SHARE - self._every_s
        await asyncio.sleep(min(_LONGEST_REST_S, max(0.0, rest)))
