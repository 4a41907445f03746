"""A call and a second one beside it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from policies.catalog import Deployment
from workers.engine.race import OnDelta, Race
from workers.providers.protocol import Delta, ProviderError, Reply
from workers.routing.state import DeploymentState


def state(name: str) -> DeploymentState:
    return DeploymentState(Deployment(name, "m", "openai"))


FIRST, SECOND = state("first"), state("second")


async def until(so: Callable[[], bool]) -> None:
    for _ in range(100):
        if so():
            return
        await asyncio.sleep(0)
    raise AssertionError


class Track:
    """Calls that go on as they are told."""

    def __init__(self, *, streams: bool = False) -> None:
        self.ends: dict[str, asyncio.Future[Reply]] = {}
        self.gates: dict[str, OnDelta | None] = {}
        self.cancelled: list[str] = []
        self.told: list[str] = []
        on_delta: Callable[[Delta], None] | None = (lambda delta: self.told.append(delta.text)) if streams else None
        self.race = Race(self.visit, on_delta)

    async def visit(self, where: DeploymentState, on_delta: OnDelta | None) -> Reply:
        self.gates[where.name] = on_delta
        end: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.ends[where.name] = end
        try:
            return await end
        except asyncio.CancelledError:
            self.cancelled.append(where.name)
            raise

    async def start(self, after_s: float = 0.0, second: DeploymentState | None = SECOND) -> "asyncio.Task[Reply]":
        task = asyncio.create_task(self.race.run(FIRST, after_s, lambda: second))
        wanted = 1 + (second is not None and after_s == 0)
        await until(lambda: len(self.ends) == wanted)
        return task

    def answer(self, name: str) -> Reply:
        reply = Reply({"from": name}, None)
        self.ends[name].set_result(reply)
        return reply

    def fail(self, name: str) -> None:
        self.ends[name].set_exception(ProviderError("upstream_error", name, retryable=True))

    def tell(self, name: str, text: str) -> None:
        gate = self.gates[name]
        assert gate is not None
        gate(Delta(text, None))


async def test_a_call_that_is_quick_stays_alone() -> None:
    track = Track()
    task = await track.start(after_s=30)
    reply = track.answer("first")
    assert await task is reply
    assert list(track.ends) == ["first"]
    assert track.race.loser is None


@pytest.mark.parametrize(("winner", "loser"), [("first", "second"), ("second", "first")])
async def test_the_first_answer_wins_and_the_other_call_is_cancelled(winner: str, loser: str) -> None:
    track = Track()
    task = await track.start()
    reply = track.answer(winner)
    assert await task is reply
    assert track.cancelled == [loser]
    assert track.race.winner is not None and track.race.winner.name == winner
    assert track.race.loser is not None and track.race.loser.name == loser


async def test_where_one_fails_the_other_is_waited_for() -> None:
    track = Track()
    task = await track.start()
    track.fail("second")
    await asyncio.sleep(0)
    reply = track.answer("first")
    assert await task is reply
    assert track.race.loser_error is not None


async def test_where_both_fail_the_later_error_is_raised_and_both_are_known() -> None:
    track = Track()
    task = await track.start()
    track.fail("first")
    track.fail("second")
    with pytest.raises(ProviderError, match="second"):
        await task
    assert track.race.failed is SECOND
    assert set(track.race.errors) == {"first", "second"}


async def test_without_a_second_deployment_the_first_goes_on() -> None:
    track = Track()
    task = await track.start(second=None)
    reply = track.answer("first")
    assert await task is reply


async def test_answers_of_the_same_moment_are_both_known() -> None:
    track = Track()
    task = await track.start()
    first, second = track.answer("first"), track.answer("second")
    assert await task is first
    assert track.race.loser_reply is second


async def test_a_stream_is_won_by_its_first_piece() -> None:
    track = Track(streams=True)
    task = await track.start()
    track.tell("second", "a")
    track.tell("first", "never shown")
    await until(lambda: bool(track.cancelled))
    track.tell("second", "b")
    reply = track.answer("second")
    assert await task is reply
    assert (track.told, track.cancelled) == (["a", "b"], ["first"])


async def test_a_stream_that_has_begun_gets_no_second_call() -> None:
    track = Track(streams=True)
    asked: list[Any] = []
    task = asyncio.create_task(track.race.run(FIRST, 30, lambda: asked.append(1)))
    await until(lambda: bool(track.ends))
    track.tell("first", "a")
    reply = track.answer("first")
    assert await task is reply
    assert asked == []


async def test_who_is_cancelled_takes_both_calls_along() -> None:
    track = Track()
    task = await track.start()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(track.cancelled) == ["first", "second"]
