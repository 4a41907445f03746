"""What jobs pass on their way into a batch and out of it, as others do before and after a call: caches, and limits of keys.

Who knows caches and limits stands above this package, so it is told of them here.
"""

from collections.abc import Sequence
from typing import Protocol

from core.direct import Row
from core.store.work import Finish, Requeue
from policies.catalog import Deployment

Move = Finish | Requeue


class Doors(Protocol):
    """The way in and the way out. None of it raises for a cache or a limit that cannot be asked."""

    async def enter(self, deployment: Deployment, rows: Sequence[Row], size: int) -> list[Move]:
        """Return the moves of those jobs that need not, or may not, go into a batch now; the others may.

        May be asked again for the same jobs, by another process too.

        Args:
            deployment: whose batch it is.
            rows: jobs that the batch holds, with their bodies.
            size: jobs in the batch.
        """
        ...

    async def answered(self, row: Row, move: Move) -> Move:
        """Return the move with what caches had to do with it, and keep a whole answer; to be asked before it is stored."""
        ...

    async def left(self, moves: Sequence[tuple[Row, Move]]) -> None:
        """Settle what was set aside for jobs whose moves are stored now."""
        ...


class OpenDoors:
    """No caches and no limits."""

    async def enter(self, deployment: Deployment, rows: Sequence[Row], size: int) -> list[Move]:  # noqa: ARG002 - the protocol's
        """Let all in."""
        return []

    async def answered(self, row: Row, move: Move) -> Move:  # noqa: ARG002 - the protocol's
        """Return the move as it is."""
        return move

    async def left(self, moves: Sequence[tuple[Row, Move]]) -> None:
        """Do nothing."""
