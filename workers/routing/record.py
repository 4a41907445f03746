"""How a deployment does, as this process measured it: calls, errors, latencies over the last 256 answers."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from workers.providers.protocol import UpstreamTiming

WINDOW: Final = 256
_MEASURES: Final = ("ttft_ms", "itl_ms", "total_ms", "tokens_per_s")
_COLD: Final = 16


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile of ``values``, None when there are none.

    Args:
        values: in any order.
        share: between 0 and 1, for example 0.95.
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Record:
    """The numbers of one deployment. Other threads may call ``shown``.

    Attributes:
        ttft_p50, ttft_p95, total_p95: milliseconds as of the last ``refresh``; None without measurements.
    """

    __slots__ = (
        "_cold", "_itl", "_rate", "_stale", "_total", "_ttft", "calls", "errors", "failing_in_a_row", "hedges", "total_p95",
        "ttft_p50", "ttft_p95",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.hedges = 0
        self.failing_in_a_row = 0
        self._ttft: deque[float] = deque(maxlen=WINDOW)
        self._itl: deque[float] = deque(maxlen=WINDOW)
        self._total: deque[float] = deque(maxlen=WINDOW)
        self._rate: deque[float] = deque(maxlen=WINDOW)
        self._cold: deque[float] = deque(maxlen=_COLD)
        self._stale = False
        self.ttft_p50: float | None = None
        self.ttft_p95: float | None = None
        self.total_p95: float | None = None

    def answered(self, timing: UpstreamTiming) -> None:
        """A call brought an answer."""
        self.failing_in_a_row = 0
        self._stale = True
        if timing.ttft_ms is not None:
            self._ttft.append(timing.ttft_ms)
        if timing.itl_ms is not None:
            self._itl.append(timing.itl_ms)
        if timing.upstream_ms is not None:
            self._total.append(timing.upstream_ms)
            if timing.connect_ms is not None:
                # It opened a connection: what a call costs that finds none, up to its first token or its whole answer.
                self._cold.append(timing.ttft_ms or timing.upstream_ms)
        if timing.tokens_per_s is not None:
            self._rate.append(timing.tokens_per_s)

    def warmed(self, cold_start_ms: float | None) -> None:
        """Warming it took so long that a call would have waited for; None when all was warm already."""
        if cold_start_ms is not None:
            self._cold.append(cold_start_ms)

    def failed(self) -> None:
        """A call failed in a way that speaks against the deployment and not against the request."""
        self.errors += 1
        self.failing_in_a_row += 1

    def samples(self, *, stream: bool) -> int:
        """Return how many measurements stand behind the percentile that matters for such a call."""
        return len(self._ttft if stream else self._total)

    def refresh(self) -> None:
        """Work the percentiles out anew, if anything was measured since."""
        if self._stale:
            self._stale = False
            self.ttft_p50, self.ttft_p95 = percentile(self._ttft, 0.5), percentile(self._ttft, 0.95)
            self.total_p95 = percentile(self._total, 0.95)

    def shown(self) -> dict[str, Any]:
        """Return what the process's row says of the deployment."""
        shown: dict[str, Any] = {
            "calls": self.calls,
            "errors": self.errors,
            "hedges": self.hedges,
            "failing_in_a_row": self.failing_in_a_row,
            "cold_start_ms": _rounded(percentile(list(self._cold.copy()), 0.5)),
        }
        for measure, recent in zip(_MEASURES, (self._ttft, self._itl, self._total, self._rate), strict=True):
            # The heartbeat's thread reads while the loop writes: a copy first.
            values = list(recent.copy())
            shown[measure] = {
                name: _rounded(percentile(values, share))
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            }
        return shown


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
