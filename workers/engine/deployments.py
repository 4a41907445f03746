"""How each deployment does in this process: calls, errors, latencies. Shown in the process's row for `/v1/deployments`."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from workers.providers.protocol import UpstreamTiming

_WINDOW: Final = 256
_MEASURES: Final = ("ttft_ms", "itl_ms", "total_ms", "tokens_per_s")


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


@dataclass(slots=True)
class _Record:
    in_flight: int = 0
    calls: int = 0
    errors: int = 0
    failing_in_a_row: int = 0
    recent: dict[str, deque[float]] = field(
        default_factory=lambda: {measure: deque(maxlen=_WINDOW) for measure in _MEASURES}
    )


class DeploymentStats:
    """Counts calls by deployment; percentiles are over the last 256 answers."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def began(self, deployment: str) -> None:
        """A call has been started."""
        record = self._records.setdefault(deployment, _Record())
        record.in_flight += 1
        record.calls += 1

    def ended(self, deployment: str) -> None:
        """A call is over, whatever became of it; a cancelled one says nothing about the deployment."""
        self._records[deployment].in_flight -= 1

    def answered(self, deployment: str, timing: UpstreamTiming) -> None:
        """A call brought an answer."""
        record = self._records[deployment]
        record.failing_in_a_row = 0
        measured = (timing.ttft_ms, timing.itl_ms, timing.upstream_ms, timing.tokens_per_s)
        for measure, value in zip(_MEASURES, measured, strict=True):
            if value is not None:
                record.recent[measure].append(value)

    def failed(self, deployment: str) -> None:
        """A call failed in a way that speaks against the deployment and not against the request."""
        record = self._records[deployment]
        record.errors += 1
        record.failing_in_a_row += 1

    def report(self) -> dict[str, dict[str, Any]]:
        """Return what may be shown of each deployment that was called."""
        # The heartbeat's thread reads while the loop writes: copies first.
        return {name: _report(record) for name, record in list(self._records.items())}


def _report(record: _Record) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "in_flight": record.in_flight,
        "calls": record.calls,
        "errors": record.errors,
        "failing_in_a_row": record.failing_in_a_row,
    }
    for measure, recent in record.recent.items():
        values = list(recent.copy())
        shown[measure] = {
            name: None if (value := percentile(values, share)) is None else round(value, 2)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }
    return shown
