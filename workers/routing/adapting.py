"""Fitting a deployment's limit of calls at once to what it bears: by what all worker processes saw, done by one of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog

from policies.concurrency import AdaptiveLimit
from policies.slowness import Verdict, together
from workers.routing.state import DeploymentState

_log = structlog.get_logger(__name__)


class _Told(NamedTuple):
    """What a process has told so far: counts that only grow, and the number of its last word on slowness."""

    completed: int
    overloaded: int
    verdicts: int


class Adapting:
    """The limit of one deployment as this process would set it, and what it has heard for that.

    Attributes:
        state: what this process sees of the deployment; another one when the catalog gave it another address.
        news: the limit that the others should go by from now on; None when it stays.
    """

    def __init__(self, state: DeploymentState) -> None:
        self.state = state
        self._limit = AdaptiveLimit(state.part.floor, state.part.ceiling)
        self._heard: dict[str, _Told] = {}
        self._slowness: tuple[int, float, float, int] | None = None
        self.news: float | None = None

    def note(self, now: float) -> dict[str, Any]:
        """Return what this process tells the others."""
        found = self.state.slowness.verdict(now)
        if found is not None:
            # It stands until there is news; the number tells who listens whether it is.
            number = 1 + (self._slowness[0] if self._slowness else 0)
            self._slowness = (number, found.times, found.ms, found.answers)
        state = self.state
        return {
            "f": -(-state.peak // state.merge), "c": state.completed, "o": state.overloaded, "s": self._slowness
        }  # fmt: skip

    def by_all(self, notes: Mapping[str, Mapping[str, Any]], limit: float, now: float) -> None:
        """Adapt the limit in force by the notes of all processes."""
        completed = overloaded = 0
        verdicts: list[Verdict] = []
        heard: dict[str, _Told] = {}
        for name, note in notes.items():
            number, *verdict = note["s"] or (0,)
            told = heard[name] = _Told(note["c"], note["o"], number)
            before = self._heard.get(name, told)
            completed += max(0, told.completed - before.completed)
            overloaded += max(0, told.overloaded - before.overloaded)
            if number != before.verdicts:
                verdicts.append(Verdict(*verdict))
        self._heard = heard
        slowness = together(verdicts)
        self._limit.floor, self._limit.ceiling, self._limit.exact = (
            self.state.part.floor,
            self.state.part.ceiling,
            limit,
        )
        self._limit.on_tick(
            now, in_flight=sum(note["f"] for note in notes.values()), completed=completed, failed_overload=overloaded,
            slowness=slowness.times if slowness else None, answer_ms=slowness.ms if slowness else None,
        )  # fmt: skip
        self.state.peak = self.state.units
        if self._limit.exact != limit:
            self.news = self._limit.exact
            _log.debug("limit_adapted", deployment=self.state.name, limit=round(self._limit.exact, 2))

    def alone(self, me: str, workers: int, now: float) -> int:
        """Adapt by what this process sees, taking the others for its like; return the limit."""
        note = self.note(now)
        self.by_all({me: {**note, "f": note["f"] * workers}}, float(self.state.part.limit), now)
        return self._limit.limit

    def leave_it(self) -> None:
        """Another process adapts: what was heard is no longer needed, and would be old when it is again."""
        self._heard.clear()
        self.state.peak = self.state.units
