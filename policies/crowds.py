"""Whether who comes first is usually the first of a crowd, and of how many. Pure: the time is an argument.

Many callers ask in crowds: a page that needs twenty embeddings, a job that fans out. Of a crowd a worker often gets one item, and
a few milliseconds later the rest. Who starts a call for that one item has one upstream slot less for the others; who always waits
for others makes everybody slow who comes alone. So this learns from the crowds before, and forgets within a few.
"""

import math
from typing import Final

# Each opening of a spell counts so much against those before it.
_WEIGHT: Final = 0.3
_USUALLY: Final = 0.5
_LEAST: Final = 6
# So many times what comes in such a time anyway is a crowd.
_TIMES: Final = 3.0
# A crowd that brings a little more than usual need not be split otherwise.
_MORE: Final = 0.25


class Crowds:
    """Learns from arrivals. A spell is opened by who comes first after a pause, and lasts as long as its pace says."""

    __slots__ = ("_items", "_least", "_often", "_opened_at", "_size", "_spell_s")

    def __init__(self) -> None:
        self._opened_at: float | None = None
        self._spell_s = 0.0
        self._least = float(_LEAST)
        self._items = 0
        self._often = 0.0
        self._size = 0.0

    def arrived(self, now: float, items: int) -> None:
        """Count arrivals. `now` is in seconds on a clock that never goes back."""
        if self._opened_at is not None and now - self._opened_at <= self._spell_s:
            self._items += items
            return
        self._learn()
        self._opened_at, self._items = now, items

    def coming(self, now: float, spell_s: float, usual: float) -> float:
        """Return for how many seconds more the rest of a crowd is to be expected; 0 when none is.

        Args:
            now: seconds on the clock of `arrived`.
            spell_s: how long it may take from the first of a crowd to the last, from now on.
            usual: how many items come in that time on average.
        """
        self._spell_s, self._least = spell_s, max(_LEAST, _TIMES * usual)
        if self._opened_at is None or self._often <= _USUALLY:
            return 0.0
        return max(0.0, self._opened_at + spell_s - now)

    def part(self, parts: int) -> int:
        """Return how many items each of `parts` gets of a crowd as large as usual; at least 1."""
        return max(1, math.ceil(self._size / parts - _MORE))

    def _learn(self) -> None:
        if self._opened_at is None:
            return
        crowd = self._items >= self._least
        self._often += _WEIGHT * (crowd - self._often)
        if crowd:
            self._size += _WEIGHT * (self._items - self._size) if self._size else self._items
