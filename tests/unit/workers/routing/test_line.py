"""Jobs in line for a slot: whoever is called has the turn, or the next one is called."""

import asyncio

from workers.routing.line import Line


async def test_the_longest_waiting_is_called_first() -> None:
    line = Line()
    first, second = (asyncio.create_task(line.wait("m", 60)) for _ in range(2))
    await asyncio.sleep(0)
    assert line.next("m")
    assert await first
    assert not second.done()
    assert line.next("m")
    assert await second
    assert not line.next("m")


async def test_a_turn_that_comes_as_the_time_runs_out_is_not_lost() -> None:
    line = Line()
    waiting = asyncio.create_task(line.wait("m", 0))
    await asyncio.sleep(0)  # it stands in the line, and its time is over with the next turn of the loop
    assert line.next("m")
    assert await waiting


async def test_whoever_is_called_and_cancelled_at_once_lets_the_next_one_have_the_turn() -> None:
    line = Line()
    first, second = (asyncio.create_task(line.wait("m", 60)) for _ in range(2))
    await asyncio.sleep(0)
    line.next("m")
    first.cancel()
    assert await second
    assert first.cancelled()


async def test_nobody_is_called_when_nobody_waits_any_more() -> None:
    line = Line()
    assert not await line.wait("m", 0)
    assert not line.next("m")
