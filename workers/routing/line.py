"""Jobs of this process that found no slot: they wait in a line for each model, the longest waiting first."""

import asyncio
from collections import deque


class Line:
    """The waiting jobs, by model. Lives on the engine's loop."""

    def __init__(self) -> None:
        self._turns: dict[str, deque[asyncio.Future[None]]] = {}

    async def wait(self, model: str, seconds: float) -> bool:
        """Wait for a turn; tell whether it came within ``seconds``."""
        turns = self._turns.setdefault(model, deque())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turns.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            # Called in the moment when the time ran out: nobody else was called instead.
            return turn.done() and not turn.cancelled()
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # Called and gone in the same moment: the next one has the turn.
                self.next(model)
            raise
        finally:
            if turn in turns:
                turns.remove(turn)
            if not turns and self._turns.get(model) is turns:
                del self._turns[model]
        return True

    def next(self, model: str) -> bool:
        """Call the one that waits longest for ``model``; tell whether there was one."""
        turns = self._turns.get(model)
        while turns:
            turn = turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return True
        return False

    def all(self) -> None:
        """Call everybody."""
        for model in list(self._turns):
            while self.next(model):
                pass
