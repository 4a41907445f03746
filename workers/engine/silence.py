"""Letting go of sessions whose client fell silent: a process that froze, or a network that swallowed its connection.

Postgres itself ends a session that idles between two statements of a transaction. One that waits for the rest of a statement's
messages, or for its answer to be read, it would keep for ever, with the jobs locked that the others have to take over.
"""

from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.upkeep import end_silent_sessions
from workers.rounds import Rounds

_log = structlog.get_logger(__name__)
_EVERY_S: Final = 5.0
# As long as Postgres waits between two statements (`core/database.py`).
_SILENT_S: Final = 10.0


class Silence:
    """Looks for silent sessions in the background; every worker does, as any of them may be the one that is cut off.

    Args:
        engine: connections with the worker's role.
        every_s, silent_s: how often it looks, and how long a session may wait for its client, in seconds.
    """

    def __init__(self, engine: AsyncEngine, *, every_s: float = _EVERY_S, silent_s: float = _SILENT_S) -> None:
        self._engine = engine
        self._silent_s = silent_s
        self._rounds = Rounds(self._once, every_s, soonest_s=every_s, failed="silence_check_failed")

    async def run(self) -> None:
        """Look for ever; the engine cancels it."""
        await self._rounds.run()

    async def _once(self) -> None:
        ended = await end_silent_sessions(self._engine, self._silent_s)
        if ended:
            _log.warning("silent_sessions_ended", sessions=ended)
