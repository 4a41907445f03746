"""Collecting: while one batch is under way the next one fills. Without load nobody waits, and under load the price is shared."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Collector(Generic[T]):
    """Takes items one by one and handles them many at a time, in the order they came. What handles them, a subclass says.

    Args:
        most: most items in one batch.
        at_once: batches under way at once.
        name: of the tasks.
    """

    def __init__(self, *, most: int, at_once: int, name: str) -> None:
        self._most = most
        self._at_once = at_once
        self._name = name
        self._pending: list[T] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start handling on the running event loop."""
        self._tasks = [asyncio.create_task(self._run(), name=f"{self._name}-{n}") for n in range(self._at_once)]

    @property
    def healthy(self) -> bool:
        """Whether items handed in now will be handled."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What handles the items; once started, none of it ends before ``stop``."""
        return tuple(self._tasks)

    async def stop(self) -> None:
        """Stop at once, batches under way included; the items that wait stay where they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _handle(self, batch: list[T]) -> None:
        """Do what is to be done with a batch. An error of it ends the task: nothing is to be lost with one."""
        raise NotImplementedError

    def _add(self, item: T) -> None:
        self._pending.append(item)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._pending = self._pending[: self._most], self._pending[self._most :]
            if not self._pending:
                self._wake.clear()
            if batch:
                await self._handle(batch)
