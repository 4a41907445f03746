"""How slow an upstream's answers are, against what such answers take there usually. Pure; latencies in milliseconds.

How long a first token takes can be compared as it is. How long a whole answer takes depends on how much was asked and said, so
whole answers are compared among their like only: about as many tokens in, about as many out. What is usual for a kind is the
shortest typical time seen, and fades upwards: an upstream that has become slower for good counts as itself again after minutes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: The kind of the time to a first token.
FIRST: Final = "first"

# Below this many answers of a kind a slow one may be chance.
_FEW: Final = 5
# More of a kind would tell nothing new; and of a deployment that only this process uses nobody ever asks for a verdict.
_ENOUGH: Final = 1000
# A few answers of so long ago say nothing about now, in seconds.
_STALE_S: Final = 10.0
# A second makes what is usual so much longer, a minute and a half about twice as long.
_FADING: Final = 1.008
# Kinds that are kept; those seen longest ago go first.
_KINDS: Final = 64
_SHORT: Final = 256


def kind_of(input_tokens: int, output_tokens: int) -> str:
    """Return the kind of a whole answer: of one kind are answers within about 1.4 times the output and twice the input."""
    asked = max(0, math.ceil(math.log2(max(1, input_tokens) / _SHORT)))
    return f"{asked}:{round(2 * math.log2(max(1, output_tokens)))}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How slow answers were: so many times what is usual, and in ms, from so many answers."""

    times: float
    ms: float
    answers: int


@dataclass(slots=True)
class _Kind:
    since: float = 0.0
    usual_ms: float | None = None
    usual_at: float = 0.0


class Slowness:
    """What one process saw of one deployment."""

    __slots__ = ("_kinds", "_seen")

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._seen: dict[str, list[float]] = {}

    def observe(self, now: float, kind: str, ms: float) -> None:
        """Count an answer. `now` is in seconds on a clock that never goes back."""
        seen = self._seen.get(kind)
        if seen is None:
            self._seen[kind] = [ms]
            self._touch(kind).since = now
        elif len(seen) < _ENOUGH:
            seen.append(ms)

    def verdict(self, now: float) -> Verdict | None:
        """Return how slow the answers since the last verdict were.

        None while there are too few of any kind; they are kept for the next time. Of several kinds the middle one counts, each as
        often as it was seen.
        """
        found: list[Verdict] = []
        for name, seen in list(self._seen.items()):
            kind = self._kinds[name]
            if len(seen) >= _FEW:
                typical = sorted(seen)[len(seen) // 2]
                found.append(Verdict(self._times(kind, now, typical), typical, len(seen)))
            elif now - kind.since < _STALE_S:
                continue
            del self._seen[name]
        return _middle(found) if found else None

    def _times(self, kind: _Kind, now: float, ms: float) -> float:
        before = _faded(kind, now) if kind.usual_ms is not None else ms
        kind.usual_ms, kind.usual_at = min(before, ms), now
        return ms / before if before > 0 else 1.0

    def _touch(self, name: str) -> _Kind:
        kind = self._kinds.pop(name, None) or _Kind()
        self._kinds[name] = kind
        if len(self._kinds) > _KINDS:
            oldest = next(iter(self._kinds))
            del self._kinds[oldest]
            self._seen.pop(oldest, None)
        return kind


def together(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return what several processes saw as one verdict: each counts by its answers. None when nobody saw enough."""
    answers = sum(one.answers for one in verdicts)
    if not answers:
        return None
    return Verdict(
        sum(one.times * one.answers for one in verdicts) / answers, sum(one.ms * one.answers for one in verdicts) / answers,
        answers,
    )  # fmt: skip


def _middle(found: list[Verdict]) -> Verdict:
    answers, passed = sum(one.answers for one in found), 0
    for one in sorted(found, key=lambda one: one.times):
        passed += one.answers
        if 2 * passed >= answers:
            return Verdict(one.times, one.ms, answers)
    raise AssertionError("the last one is past the middle")


def _faded(kind: _Kind, now: float) -> float:
    assert kind.usual_ms is not None  # noqa: S101 - asked of kinds that have been seen
    return kind.usual_ms * math.pow(_FADING, now - kind.usual_at)
