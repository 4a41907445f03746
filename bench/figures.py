"""Numbers with their goals, and the statistics behind them. Pure: no I/O."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Must:
    """What a number has to reach, from the issue."""

    relation: Literal["≥", "≤"]
    bound: float

    def holds(self, value: float) -> bool:
        """Tell whether ``value`` reaches the goal; what was not measured (nan) does not."""
        return value >= self.bound if self.relation == "≥" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.relation} {shown(self.bound)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        bench: which benchmark it belongs to.
        name: what was measured.
        value: the number, in ``unit``; nan when it could not be measured.
        must: the goal, if the issue names one.
        baseline: the same number for plain Celery, measured in the same run.
        note: how it was measured, where that is not plain.
    """

    bench: str
    name: str
    value: float
    unit: str
    must: Must | None = None
    baseline: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        return None if self.must is None else self.must.holds(self.value)

    @property
    def ratio(self) -> float | None:
        """How many times the baseline's number this is."""
        if self.baseline is None or not self.baseline > 0:
            return None
        return self.value / self.baseline

    def as_dict(self) -> dict[str, object]:
        """Return the figure as JSON-able values; nan becomes null."""
        return {
            "bench": self.bench,
            "name": self.name,
            "value": _finite(self.value),
            "unit": self.unit,
            "must": str(self.must) if self.must else None,
            "passed": self.passed,
            "baseline": _finite(self.baseline),
            "ratio": _finite(self.ratio),
            "note": self.note,
        }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that ``share`` (0 to 1) of all values don't exceed; nan for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the lower median; nan for no values."""
    return percentile(values, 0.5)


def rate_between(first: float, last: float, events: int) -> float:
    """Return events per second for ``events`` that came after ``first`` and not after ``last`` (seconds); nan for no time."""
    return events / (last - first) if last > first else math.nan


def shown(value: float) -> str:
    """Return a number the way the table shows it: three significant digits below a thousand, whole above."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"
