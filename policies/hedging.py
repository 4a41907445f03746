"""Whether and when to send a second request for a call that takes long. Pure; times in milliseconds."""

from typing import Final

MIN_SAMPLES: Final = 50
FLOOR_MS: Final = 20.0
_MILLION: Final = 1_000_000


class HedgeBudget:
    """Caps hedges at a share of all calls: every call pays in, every hedge takes one out.

    Among any `n` calls in a row there are at most `share` × n + `burst` hedges.
    """

    __slots__ = ("_cap", "_credit", "_part")

    def __init__(self, share: float = 0.05, *, burst: int = 2) -> None:
        # Whole millionths: sums of floats would drift over the years.
        self._part = int(share * _MILLION)
        self._cap = max(burst, 1) * _MILLION
        self._credit = 0

    def call(self) -> None:
        """A call was started (not a hedge)."""
        self._credit = min(self._credit + self._part, self._cap)

    def may_hedge(self) -> bool:
        """Take one hedge out of the budget; False when there is none."""
        if self._credit < _MILLION:
            return False
        self._credit -= _MILLION
        return True

    def give_back(self) -> None:
        """The hedge was not sent after all."""
        self._credit = min(self._credit + _MILLION, self._cap)


def hedge_after_ms(p95: float | None, samples: int, *, floor_ms: float = FLOOR_MS) -> float | None:
    """Return after how long without an answer to send the second request; None while too little is known to say.

    Args:
        p95: of the deployment's latency (or of its time to the first token, for a stream).
        samples: how many measurements that is taken from.
        floor_ms: never sooner than this: a hedge costs a request.
    """
    if p95 is None or samples < MIN_SAMPLES:
        return None
    return max(p95, floor_ms)
