"""How many tries may be in flight to a target, judged by how it answered this process of late."""

from uuid import UUID

# Remembered at most so many slow targets; the one that was slow first is forgotten first.
_MOST_TARGETS = 1_000


class Pace:
    """Halves a target's room with every failed try and doubles it with every success.

    A receiver that hangs would otherwise hold its full room of slots for the whole time limit of a try, and a few of
    them all slots of the process.
    """

    def __init__(self, per_target: int) -> None:
        self._per_target = per_target
        self._room: dict[UUID, int] = {}

    @property
    def slow(self) -> dict[UUID, int]:
        """The targets with less than the full room, and how much they have."""
        return self._room

    def succeeded(self, target: UUID) -> None:
        """An accepted webhook."""
        room = self._room.get(target)
        if room is None:
            return
        if room * 2 >= self._per_target:
            del self._room[target]
        else:
            self._room[target] = room * 2

    def failed(self, target: UUID) -> None:
        """A try that was not accepted."""
        self._room[target] = max(1, self._room.get(target, self._per_target) // 2)
        if len(self._room) > _MOST_TARGETS:
            del self._room[next(iter(self._room))]
