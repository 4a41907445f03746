"""How many calls a deployment bears at once, and how the processes share that. Pure; latencies in milliseconds."""

from collections.abc import Mapping
from typing import Final

BACKOFF: Final = 0.7
TOLERANCE: Final = 2.5
# The limit counts as used from this share on: calls come and go between two ticks.
_USED: Final = 0.8
# From floor to ceiling in about this many windows without trouble.
_STEPS: Final = 50


class AdaptiveLimit:
    """A limit of calls at once, by additive increase and multiplicative decrease, between a floor and a ceiling.

    It begins at the ceiling, which is what the operator thought right. `limit` and `cut_at` are the whole state, so that it can
    be kept elsewhere and set again.
    """

    __slots__ = ("_grown_at", "ceiling", "cut_at", "exact", "floor", "window_s")

    def __init__(self, floor: int, ceiling: int, *, window_s: float = 1.0, start: float | None = None) -> None:
        self.floor = max(1, min(floor, ceiling))
        self.ceiling = max(self.floor, ceiling)
        self.window_s = window_s
        self.exact = min(max(float(self.ceiling if start is None else start), self.floor), self.ceiling)
        self.cut_at: float | None = None
        self._grown_at: float | None = None

    @property
    def limit(self) -> int:
        """Calls at once, a whole number."""
        return int(self.exact)

    def on_tick(
        self,
        now: float,
        *,
        in_flight: int,
        completed: int,
        failed_overload: int,
        slowness: float | None,
        answer_ms: float | None,
    ) -> int:
        """Take in what happened since the last tick and return the limit.

        Args:
            now: seconds of any clock that does not go back.
            in_flight: most calls that were under way at once.
            completed: calls that were answered.
            failed_overload: calls that were turned away (429, 503, 529).
            slowness: how many times longer than usual the answers took, see `policies.slowness`; None where too few came.
            answer_ms: what these answers took; None like that.
        """
        since, self._grown_at = self._grown_at, now
        slow = slowness is not None and slowness > TOLERANCE
        # Few calls that are slow are no crowd: lowering a limit that nobody reaches helps nobody.
        if failed_overload > 0 or (slow and self._used(in_flight)):
            self._cut(now, answer_ms)
        elif completed > 0 and not slow and since is not None and self._used(in_flight) and not self._just_cut(now):
            windows = min(max(now - since, 0.0) / self.window_s, 1.0)
            self.exact = min(self.exact + self._step * windows, float(self.ceiling))
        return self.limit

    @property
    def _step(self) -> float:
        return max(1.0, (self.ceiling - self.floor) / _STEPS)

    def _just_cut(self, now: float) -> bool:
        return self.cut_at is not None and now - self.cut_at < self.window_s

    def _used(self, in_flight: int) -> bool:
        return in_flight >= _USED * self.limit

    def _cut(self, now: float, answer_ms: float | None) -> None:
        """Once a window: the calls that were under way at the last cut may still bring its bad news."""
        window = max(self.window_s, (answer_ms or 0.0) / 1000)
        if self.cut_at is not None and now - self.cut_at < window:
            return
        self.cut_at = now
        self.exact = max(self.exact * BACKOFF, float(self.floor))


def share(limit: int, demands: Mapping[str, int], *, turn: int = 0, spread: bool = False) -> dict[str, int]:
    """Divide `limit` among processes by max-min fairness in whole numbers; the sum is never above `limit`.

    Nobody gets more than it asks for, and nobody gets more than another whose wish is unfilled, but for the one that is left
    over. Who has a demand gets at least one as long as there are enough.

    Args:
        limit: what there is; below zero counts as zero.
        demands: by process, what it could use (under way and waiting).
        turn: moves the left-over ones on from process to process when it is counted up.
        spread: hand out what nobody asked for too, evenly, so that who gets work next need not wait for the next division.
    """
    names = sorted(demands)
    if names:
        shift = turn % len(names)
        names = names[shift:] + names[:shift]
    left = max(limit, 0)
    given = dict.fromkeys(names, 0)
    hungry = [name for name in names if demands[name] > 0]
    while hungry and left:
        level = left // len(hungry)
        modest = [name for name in hungry if demands[name] <= level]
        if modest:
            for name in modest:
                given[name] = demands[name]
                left -= demands[name]
            hungry = [name for name in hungry if demands[name] > level]
            continue
        for place, name in enumerate(hungry):
            given[name] = level + (place < left % len(hungry))
        left = 0
    if spread and names and left:
        for place, name in enumerate(names):
            given[name] += left // len(names) + (place < left % len(names))
    return given
