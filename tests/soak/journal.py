"""What clients were told, and what of it was wrong already: the promises that the checker holds the database to."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Promise:
    """An answer 200 or 202 to a job. ``mark`` is in its metadata; ``key`` its idempotency key, None where it had none."""

    id: str
    tenant: str
    kind: str
    mark: str
    key: str | None
    own_url: bool


@dataclass(frozen=True, slots=True)
class GroupPromise:
    """An answer 202 to a bulk request of ``total`` jobs."""

    id: str
    tenant: str
    total: int


@dataclass(slots=True)
class Journal:
    """Filled by clients, readers and the sampler; read by the checker."""

    jobs: dict[str, Promise] = field(default_factory=dict)
    groups: dict[str, GroupPromise] = field(default_factory=dict)
    #: Jobs of which an answer said that they are cancelled.
    cancelled: set[str] = field(default_factory=set)
    #: What readers of event streams put together, by job: the text, and the type of the event it ended with.
    read: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Which events they got, by job, from which API.
    steps: dict[str, list[str]] = field(default_factory=dict)
    #: Jobs that had ended, as an answer told them.
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    slowest_s: float = 0.0
    #: Calls that the simulator saw, by job; the same call may be seen in several looks.
    calls: dict[str, set[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def wrong(self, job: str, what: str) -> None:
        """Note a violation; ``job`` may also be a group or a URL."""
        self.problems.append(f"{job}: {what}")
