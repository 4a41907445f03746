"""What travels together: one call as it waits, and the calls that share an upstream call."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from policies.batching import estimated_tokens, items, merge_key
from workers.providers.protocol import Call, Delta, Reply

OnDelta = Callable[[Delta], None]

# Finer than the event loop's own clock, which stands still during a turn and counts whole milliseconds.
clock = time.monotonic


@dataclass(eq=False, slots=True)
class Waiting:
    """One job's call. `key` is equal for those that may share; None for a call that is made alone."""

    call: Call
    on_delta: OnDelta | None
    key: tuple[int, bytes] | None
    items: int
    tokens: int
    since: float
    answer: asyncio.Future[Reply]
    parcel: "Parcel | None" = None

    @classmethod
    def of(cls, call: Call, on_delta: OnDelta | None, loop: asyncio.AbstractEventLoop) -> Self:
        """A call that has just come."""
        key = None if call.stream or call.alone else merge_key(call.endpoint, call.body)
        size = items(call.endpoint, call.body) if key is not None else 1
        tokens = estimated_tokens(call.endpoint, call.body) if key is not None else 0
        # A reload of the catalog makes new deployments: a call goes where its job was told, and by those settings.
        group = None if key is None else (id(call.deployment), key)
        return cls(call, on_delta, group, size, tokens, clock(), loop.create_future())


@dataclass(eq=False, slots=True)
class Parcel:
    """Calls that leave together. `wanted` are those that somebody still waits for; `ends` is when the answer should come."""

    jobs: list[Waiting]
    wanted: set[Waiting] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    ends: float = 0.0

    def __post_init__(self) -> None:
        self.wanted.update(self.jobs)
        for job in self.jobs:
            job.parcel = self

    @property
    def since(self) -> float:
        """Since when its first call waits."""
        return self.jobs[0].since

    @property
    def items(self) -> int:
        """Inputs, prompts or documents in it."""
        return sum(job.items for job in self.jobs)

    def drop_unwanted(self) -> None:
        """Forget calls that were cancelled before it left."""
        self.jobs = [job for job in self.jobs if job in self.wanted]


class Pool:
    """Calls that may share, in the order in which they came, and in groups that may be mixed."""

    def __init__(self) -> None:
        # Ordered and cheap to leave from the middle, which a deque is not.
        self._all: dict[Waiting, None] = {}
        self._groups: dict[tuple[int, bytes], dict[Waiting, None]] = {}
        self.items = 0

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def oldest(self) -> Waiting:
        """Who waits longest."""
        return next(iter(self._all))

    def add(self, waiting: Waiting) -> None:
        """Let a call wait."""
        assert waiting.key is not None  # noqa: S101 - those without a key never come here
        self._all[waiting] = None
        self._groups.setdefault(waiting.key, {})[waiting] = None
        self.items += waiting.items

    def discard(self, waiting: Waiting) -> None:
        """Take a call out, if it is still there."""
        if waiting not in self._all or waiting.key is None:
            return
        del self._all[waiting]
        group = self._groups[waiting.key]
        del group[waiting]
        if not group:
            del self._groups[waiting.key]
        self.items -= waiting.items

    def take(self, fitting: Callable[[list[Waiting]], int], most: int) -> Parcel:
        """Take out the oldest call and what follows it in its group, as many as `fitting` says of the first `most`."""
        group = self._groups[self.oldest.key]  # type: ignore[index]  # those without a key never come here
        first = [job for job, _ in zip(group, range(most), strict=False)]
        jobs = first[: fitting(first)]
        for job in jobs:
            self.discard(job)
        return Parcel(jobs)
