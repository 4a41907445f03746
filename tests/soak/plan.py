"""Which faults a seed stands for: drawn before the run, so that the same seed is the same trouble at the same moments."""

import random
from dataclasses import dataclass
from typing import Final

#: After its end a fault leaves its target alone for so long, in seconds: a process needs that to be there again.
REST_S: Final = 2.0
_PAUSE_S: Final = (0.4, 2.4)


@dataclass(frozen=True, slots=True)
class Kind:
    """What may go wrong. Times in seconds; ``weight`` says how often in comparison with the others."""

    name: str
    targets: tuple[str, ...]
    shortest_s: float = 0.0
    longest_s: float = 0.0
    weight: int = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong ``at_s`` seconds after the beginning, for ``for_s`` seconds."""

    at_s: float
    name: str
    target: str
    for_s: float

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s  {self.target}: {self.name}" + (f" for {self.for_s:.1f} s" if self.for_s else "")


_WORKERS: Final = ("worker-0", "worker-1")
_LINKS: Final = ("database-link", "redis-link")

#: Leases last 3 s in these runs: a worker is frozen for less and for more.
KINDS: Final = (
    Kind("killed", _WORKERS, weight=4),
    Kind("frozen", _WORKERS, 0.5, 6.0, weight=3),
    Kind("told to stop", _WORKERS, weight=1),
    Kind("killed", ("api-0", "api-1"), weight=3),
    Kind("frozen", ("api-0", "api-1"), 0.5, 6.0),
    Kind("told to stop", ("api-0", "api-1"), weight=1),
    Kind("killed", ("beat",), weight=1),
    Kind("emptied", ("redis",)),
    Kind("killed", ("redis",), 0.3, 3.0),
    Kind("full", ("redis",), 1.0, 4.0),
    Kind("made a replica", ("redis",), 1.0, 4.0),
    Kind("frozen", ("redis",), 1.0, 4.0),
    Kind("stopped at once", ("postgres",), 0.1, 2.0, weight=3),
    Kind("frozen", ("postgres",), 0.5, 5.0),
    Kind("reset", _LINKS),
    Kind("stalled", _LINKS, 1.0, 6.0),
    Kind("half open", _LINKS),
    Kind("refused", _LINKS, 0.5, 4.0),
    Kind("errors", ("model",), 1.0, 3.0),
    Kind("rate limits", ("model",), 1.0, 3.0),
    Kind("broken replies", ("model",), 1.0, 3.0),
    Kind("hangs", ("model",), 1.0, 4.0),
    Kind("errors", ("receiver",), 1.0, 4.0),
    Kind("hangs", ("receiver",), 1.0, 4.0),
)


def draw(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a run, by time. No target has two at once, and all are over when ``seconds`` have passed."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    busy_until: dict[str, float] = {}
    at_s = chance.uniform(*_PAUSE_S)
    while at_s < seconds:
        choices = [kind for kind in KINDS if any(busy_until.get(target, 0.0) <= at_s for target in kind.targets)]
        if choices:
            kind = chance.choices(choices, [kind.weight for kind in choices])[0]
            target = chance.choice([one for one in kind.targets if busy_until.get(one, 0.0) <= at_s])
            for_s = min(chance.uniform(kind.shortest_s, kind.longest_s), seconds - at_s)
            faults.append(Fault(round(at_s, 2), kind.name, target, round(for_s, 2)))
            busy_until[target] = at_s + for_s + REST_S
        at_s += chance.uniform(*_PAUSE_S)
    return faults
