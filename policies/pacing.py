"""When calls that share a few upstream slots should start, and how much each should take. Pure: the time is an argument.

Starting everything as soon as a slot is free is best while there is little to do, and bad under load: calls that began together
end together, and who comes in between waits for a whole call. Evenly spaced starts make that wait a call's time divided by the
slots. A fixed size with a timer reaches the same, but only at the one load that it was tuned for.

So the pacer learns what a call costs (a fixed part and a part for each item) and how many items come, works out how long calls
will take at that rate, and hands out one start for each part of that time. Where items come so seldom that slots will hardly run
out, nobody waits for that spacing longer than would keep them from running out. While no call is under way it holds nothing back
but the first of what is probably a crowd (`policies.crowds`), and a crowd is spread over the free slots. No quantity is set by
hand but the constants below, most of them ratios; `tests/unit/policies/test_pacing.py` has the traffic they were chosen with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policies.crowds import Crowds

# The rate of arrivals is an average over about so many seconds,
_RATE_S: Final = 0.5
# and after a quiet spell, of which so little is left, over the time since, but over so much at least.
_QUIET: Final = 0.05
_SETTLED_S: Final = 0.05
# What ended the spell, be it one or a crowd within this time, began the time that is measured and is no part of it.
_OPENING_S: Final = 0.005
# What was measured n calls ago counts 0.98**n.
_KEPT: Final = 0.98
# How strongly an even split between fixed part and items is believed before sizes have varied enough to tell them apart.
_DOUBT: Final = 0.02
# A call should not take so much more than its share of the items, or its slot comes free late and the spacing is lost.
_EVEN: Final = 1.25
# Making a call larger is nearly free until its items cost this part of the fixed time; no crowd is split finer.
_FREE: Final = 0.25
# So many times the items that should be waiting by now, and not just a few, are a crowd that came at once.
_CROWD: Final = 1.5
_FEW: Final = 4
# No crowd is waited for longer, however long calls take.
_CROWD_S: Final = 0.02
# A crowd has arrived when nothing has come for this part of the spacing.
_CALM: Final = 0.1
# While most slots stay free, this many starts may follow each other without spacing.
_STARTS: Final = 2.0
_BUSIEST: Final = 0.95
# Starts are spaced by this much more than would keep all slots busy: calls do not take exactly what they should.
_SLACK: Final = 1.1
# So many starts may be ahead of the spacing; they are made up for.
_AHEAD: Final = 1.0
# How rarely all slots may be taken by calls that did not wait for the spacing: 2 %, as a quantile of the normal distribution.
_RARELY: Final = -2.054
_SHORTEST_S: Final = 0.0001
# Timers count milliseconds: to ask again for the sake of less would only be to ask twice.
_SOONEST_S: Final = 0.001
_NEARLY_S: Final = 0.0005
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Plan:
    """How many items each call that should start now takes, and in how many seconds to ask again for the rest, if ever.

    None means: when something arrives or ends.
    """

    sizes: tuple[int, ...]
    again_in: float | None


class Pacer:
    """Paces the calls of one deployment in one process.

    Attributes:
        fixed_s: seconds that a call takes whatever is in it, as learned.
        item_s: seconds that each item adds, as learned.
    """

    __slots__ = (
        "_arrived_at",
        "_calls",
        "_crowds",
        "_items",
        "_items2",
        "_opening",
        "_rate",
        "_seconds",
        "_since",
        "_starts",
        "_starts_at",
        "_work",
        "fixed_s",
        "item_s",
    )

    def __init__(self) -> None:
        self.fixed_s = 0.0
        self.item_s = 0.0
        self._rate = 0.0
        self._arrived_at: float | None = None
        self._since = self._opening = 0.0
        self._crowds = Crowds()
        self._starts = 1.0
        self._starts_at: float | None = None
        # Decaying sums over finished calls: 1, n, t, n², n·t for n items in t seconds.
        self._calls = self._items = self._seconds = self._items2 = self._work = 0.0

    def arrived(self, now: float, items: int) -> None:
        """Count arrivals. `now` is in seconds on a clock that never goes back."""
        self._crowds.arrived(now, items)
        before = self._recent(now)
        if before * _RATE_S < _QUIET:
            before, self._since, self._opening = 0.0, now, 0.0
        if now - self._since < _OPENING_S:
            self._opening += items
        self._rate = before + items / _RATE_S
        self._arrived_at = now

    def finished(self, items: int, seconds: float) -> None:
        """Learn from a call that was answered."""
        self._calls = self._calls * _KEPT + 1
        self._items = self._items * _KEPT + items
        self._seconds = self._seconds * _KEPT + seconds
        self._items2 = self._items2 * _KEPT + items * items
        self._work = self._work * _KEPT + items * seconds
        # A line through the points, pulled towards half fixed, half items: equal sizes alone cannot tell them apart.
        mean = self._seconds / self._items
        doubt = _DOUBT * self._items * self._items
        slope = self._work * self._calls - self._items * self._seconds + doubt * mean / 2
        spread = max(0.0, self._items2 * self._calls - self._items * self._items)
        self.item_s = min(max(0.0, slope / (spread + doubt)), mean)
        self.fixed_s = max(0.0, (self._seconds - self.item_s * self._items) / self._calls)

    def expected_s(self, items: int) -> float:
        """How long a call with so many items should take."""
        return self.fixed_s + self.item_s * items

    def plan(self, now: float, *, waiting: int, oldest: float, slots: int, ends: Sequence[float], most: int) -> Plan:
        """Decide what starts now.

        Args:
            now: seconds on the clock of `arrived`.
            waiting: items that wait; at least 1.
            oldest: since when the first of them waits.
            slots: how many calls may be under way at once; at least 1.
            ends: for each call under way when it should end.
            most: most items in a call.
        """
        free = slots - len(ends)
        gap, share = self._spacing(now, slots, most)
        self._refill(now, slots, gap)
        if free <= 0:
            return Plan((), None)
        if not ends:
            coming_s = self._crowds.coming(now, min(gap, _CROWD_S), share)
            if coming_s > _NEARLY_S:
                return self._gather(waiting, coming_s, slots, most)
            self._starts = max(self._starts, 1.0)
        next_in = min((1 - self._starts) * gap, oldest + self._longest_hold(now, slots, gap) - now)
        ready = next_in <= _NEARLY_S
        crowd = waiting >= max(_CROWD * share, _FEW)
        calm_in = _CALM * gap - (now - (self._arrived_at or now))
        late_in = oldest + gap - now
        settled = not crowd or calm_in <= _NEARLY_S or late_in <= _NEARLY_S
        sizes: list[int] = []
        if not ends or (ready and settled) or (crowd and calm_in <= _NEARLY_S):
            sizes = self._sizes(waiting, [0.0] * free + sorted(max(0.0, end - now) for end in ends), free, share, most)
            self._starts = max(-_AHEAD, self._starts - len(sizes))
        if sum(sizes) >= waiting or len(sizes) >= free:
            return Plan(tuple(sizes), None)
        again = min(max(0.0, calm_in), max(next_in, late_in)) if crowd else next_in
        return Plan(tuple(sizes), max(_SOONEST_S, again))

    def _gather(self, waiting: int, coming_s: float, slots: int, most: int) -> Plan:
        """Of a crowd of which only a part may have come yet, start what fills an even share, and give the rest a moment."""
        size = min(most, self._crowds.part(slots))
        calls = min(slots, waiting // size)
        self._starts = max(-_AHEAD, self._starts - calls)
        return Plan((size,) * calls, None if calls in (slots, waiting / size) else coming_s)

    def _sizes(self, waiting: int, freed: Sequence[float], free: int, share: float, most: int) -> list[int]:
        """Spread what waits: not finer than is worth while, nor so that a call ends later than if the next slots had helped.

        `freed` says in how many seconds each slot comes free, in order; `free` of them are free now.
        """
        least = self._nearly_free(most)
        calls = min(free, max(1, int(waiting / max(share, least))))
        limit = min(most, max(math.ceil(_EVEN * share), math.ceil(least), self._level(waiting, freed)))
        sizes, left = [], waiting
        for rest in range(calls, 0, -1):
            size = min(limit, math.ceil(left / rest), left)
            if size:
                sizes.append(size)
            left -= size
        return sizes

    def _level(self, waiting: int, freed: Sequence[float]) -> int:
        """How many items a slot that is free now gets when all slots share what waits and end together."""
        if self.item_s <= 0:
            return waiting
        spent, level = 0.0, math.inf
        for count, at in enumerate(freed, 1):
            if at >= level:
                break
            spent += at
            level = (spent + self.item_s * waiting) / count
        return math.ceil(level / self.item_s - _TOLERANCE)

    def _nearly_free(self, most: int) -> float:
        return min(most, _FREE * self.fixed_s / self.item_s) if self.item_s > 0 else most

    def _recent(self, now: float) -> float:
        if self._arrived_at is None:
            return 0.0
        return self._rate * math.exp((self._arrived_at - now) / _RATE_S)

    def _rate_at(self, now: float) -> float:
        recent, since = self._recent(now), now - self._since
        opening = self._opening / _RATE_S * math.exp(-since / _RATE_S)
        # The average has seen only what came since the last quiet spell.
        return max(recent, (recent - opening) / -math.expm1(-max(since, _SETTLED_S) / _RATE_S))

    def _spacing(self, now: float, slots: int, most: int) -> tuple[float, float]:
        """Seconds between starts that keep all slots evenly busy, and the items that come in that time."""
        rate = self._rate_at(now)
        # With all slots in use a call takes t = fixed + item x rate x t / slots.
        load = min(_BUSIEST, self.item_s * rate / slots)
        call_s = min(self.fixed_s / (1 - load), self.expected_s(most))
        if self._calls:
            # Calls that stay small, because what waits cannot share them, must not be spaced as if they were large.
            call_s = min(call_s, self._seconds / self._calls)
        gap = max(_SHORTEST_S, _SLACK * call_s / slots)
        return gap, min(float(most), max(1.0, rate * gap))

    def _longest_hold(self, now: float, slots: int, gap: float) -> float:
        """Return how long to hold the oldest item at most, in seconds, whatever the spacing says.

        When each start waits h for others, starts are h and the random time until the next arrival apart. A start finds all n
        slots taken when n such intervals fit into a call's time t, which is when n or more arrivals fall into t - n x h. Their
        number is Poisson with mean rate x (t - n x h). The hold is the one for which that happens as rarely as `_RARELY` says;
        the mean is then a quantile of the gamma distribution, taken by the approximation of Wilson and Hilferty (1931).
        """
        root = 1 - 1 / (9 * slots) + _RARELY / (3 * math.sqrt(slots))
        arrivals = slots * max(0.0, root) ** 3
        rate = self._rate_at(now)
        return max(0.0, gap / _SLACK - arrivals / (rate * slots)) if rate else 0.0

    def _refill(self, now: float, slots: int, gap: float) -> None:
        busy = self._rate_at(now) * self.expected_s(1)
        most = min(_STARTS, max(1.0, slots - busy))
        elapsed = now - (self._starts_at if self._starts_at is not None else now)
        self._starts = min(most, self._starts + elapsed / gap)
        self._starts_at = now
