"""A call that takes longer than usual gets a second one beside it: the first answer wins, the other is really cancelled."""

import asyncio
from collections.abc import Awaitable, Callable

from core.announce import end_tasks
from workers.providers.protocol import Delta, ProviderError, Reply
from workers.routing.state import DeploymentState

OnDelta = Callable[[Delta], None]
Visit = Callable[[DeploymentState, OnDelta | None], Awaitable[Reply]]


class Race:
    """One call and perhaps a second one.

    A stream is won by its first piece: readers never see two answers mixed.

    Attributes:
        winner, loser: None as long as there was no second call.
        loser_reply, loser_error: how the other one ended, if it ended by itself.
        failed: whose error is raised, when none answered.
    """

    def __init__(self, visit: Visit, on_delta: OnDelta | None) -> None:
        self._visit = visit
        self._on_delta = on_delta
        self._ahead: DeploymentState | None = None
        self._stirred = asyncio.Event()
        self._tasks: dict[asyncio.Task[Reply], DeploymentState] = {}
        self.winner: DeploymentState | None = None
        self.loser: DeploymentState | None = None
        self.loser_reply: Reply | None = None
        self.loser_error: ProviderError | None = None
        self.failed: DeploymentState | None = None

    async def run(self, first: DeploymentState, after_s: float, second: Callable[[], DeploymentState | None]) -> Reply:
        """Call ``first``; after ``after_s`` seconds without a beginning of an answer, call what ``second`` returns too.

        Raises:
            ProviderError: when neither brought an answer.
        """
        try:
            self._start(first)
            await self._until_stirred(after_s)
            other = None if self._stirred.is_set() else second()
            if other is not None:
                self._start(other)
            return await self._first_answer()
        finally:
            await self._end_all()

    def _start(self, state: DeploymentState) -> None:
        gate = None if self._on_delta is None else self._gate(state)
        task: asyncio.Task[Reply] = asyncio.ensure_future(self._visit(state, gate))
        self._tasks[task] = state
        task.add_done_callback(lambda _: self._stirred.set())

    def _gate(self, state: DeploymentState) -> OnDelta:
        def pass_on(delta: Delta) -> None:
            if self._ahead is None:
                self._ahead = state
                self._stirred.set()
            if self._ahead is state and self._on_delta is not None:
                self._on_delta(delta)

        return pass_on

    async def _until_stirred(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _first_answer(self) -> Reply:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            if self._ahead is not None:
                await self._only(self._ahead)
            over = [task for task in self._tasks if task.done()]
            for task in over:
                if not task.cancelled() and task.exception() is None:
                    return self._won(task)
            if len(over) == len(self._tasks):
                return self._lost()

    async def _only(self, state: DeploymentState) -> None:
        """The stream of ``state`` has begun: end the other call."""
        others = [task for task, of in self._tasks.items() if of is not state and not task.done()]
        await end_tasks(others)

    def _won(self, winner: asyncio.Task[Reply]) -> Reply:
        for task, state in self._tasks.items():
            if task is not winner:
                self.winner, self.loser = self._tasks[winner], state
                if task.done() and not task.cancelled():
                    error = task.exception()
                    if error is None:
                        self.loser_reply = task.result()
                    elif isinstance(error, ProviderError):
                        self.loser_error = error
        return winner.result()

    def _lost(self) -> Reply:
        """Nobody answered: raise the error of the call that was started last and was not ended for the other's sake."""
        for task, state in reversed(self._tasks.items()):
            if not task.cancelled():
                self.failed = state
                return task.result()
        raise asyncio.CancelledError

    @property
    def errors(self) -> dict[str, ProviderError]:
        """The errors of the calls that failed, by deployment."""
        found = {}
        for task, state in self._tasks.items():
            error = task.exception() if task.done() and not task.cancelled() else None
            if isinstance(error, ProviderError):
                found[state.name] = error
        return found

    async def _end_all(self) -> None:
        if any(not task.done() for task in self._tasks):
            await end_tasks([task for task in self._tasks if not task.done()])
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # looked at, or asyncio would complain
