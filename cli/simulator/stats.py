"""What the simulator saw: counters by model and the last requests, for tests and benchmarks."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_KEPT = 2000


@dataclass(slots=True)
class Seen:
    """One model request. `outcome` is `running` until it ends as `completed`, `failed`, `malformed` or `cancelled`."""

    id: str
    model: str
    endpoint: str
    stream: bool
    items: int
    key: str | None
    job_id: str | None
    traceparent: str | None
    outcome: str = "running"


@dataclass(slots=True)
class Tally:
    """Counters of one model, or of all together."""

    requests: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    items: Counter[int] = field(default_factory=Counter)

    def begin(self, items: int) -> None:
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.items[items] += 1

    def end(self, outcome: str) -> None:
        self.in_flight -= 1
        self.outcomes[outcome] += 1

    def shown(self) -> dict[str, Any]:
        names = ("completed", "failed", "malformed", "cancelled")
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            **{name: self.outcomes[name] for name in names},
            "batch_items": {str(size): count for size, count in sorted(self.items.items())},
        }


class Stats:
    """All counters. `watch` calls back once a condition on the totals holds."""

    def __init__(self) -> None:
        self.connections = 0
        self.total = Tally()
        self.models: dict[str, Tally] = {}
        self.last: deque[Seen] = deque(maxlen=_KEPT)
        self._watchers: list[tuple[Callable[[], bool], Callable[[], None]]] = []

    def begin(self, seen: Seen) -> None:
        self.total.begin(seen.items)
        tally = self.models.get(seen.model)
        if tally is None:
            tally = self.models[seen.model] = Tally()
        tally.begin(seen.items)
        self.last.append(seen)
        self.changed()

    def end(self, seen: Seen, outcome: str) -> None:
        seen.outcome = outcome
        self.total.end(outcome)
        self.models[seen.model].end(outcome)
        self.changed()

    def reset(self) -> None:
        """Forget what is over; what is in flight stays counted."""
        self.last = deque((seen for seen in self.last if seen.outcome == "running"), maxlen=_KEPT)
        for tally in (self.total, *self.models.values()):
            tally.requests = tally.max_in_flight = tally.in_flight
            tally.outcomes.clear()
            tally.items.clear()

    def shown(self, last: int) -> dict[str, Any]:
        recent = list(self.last)[-last:] if last else []
        return {
            "simulator": True,
            "connections": self.connections,
            **self.total.shown(),
            "models": {name: tally.shown() for name, tally in self.models.items()},
            "last": [{name: getattr(seen, name) for name in Seen.__slots__} for seen in recent],
        }

    def watch(self, condition: Callable[[], bool], callback: Callable[[], None]) -> None:
        """Call back as soon as `condition` holds, unless `forget` comes first."""
        self._watchers.append((condition, callback))
        self.changed()

    def forget(self, callback: Callable[[], None]) -> None:
        """No longer wait for what `callback` waited for."""
        self._watchers = [entry for entry in self._watchers if entry[1] is not callback]

    def changed(self) -> None:
        if self._watchers:
            for entry in [entry for entry in self._watchers if entry[0]()]:
                self._watchers.remove(entry)
                entry[1]()
