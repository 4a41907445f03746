"""Runs of learned prewarm: chosen once whoever dies, expanded as any other."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from core.store.moves import cancel_group
from tests.integration.schedules.conftest import Schedules
from tests.integration.schedules.learned import Cached, learned, prompts, take, work
from tests.integration.schedules.test_runs import events, listen, look_again
from tests.support.past import NOW, Past
from tests.support.store import PUBLIC_URL
from tests.support.waiting import eventually
from workers.schedules.clock import ScheduleClock


async def test_the_run_ends_with_its_last_job(schedules: Schedules, past: Past) -> None:
    await listen(schedules)
    await past.asked("a")
    await past.asked("b")
    schedule = await learned(schedules)
    await work(schedules)
    worker = await schedules.store.process()
    assert await schedules.finish(worker, lane="prewarm") == 2
    [run] = await schedules.runs(schedule)
    assert (run.status, run.planned, run.submitted, run.succeeded, run.plan) == ("completed", 2, 2, 2, None)
    assert len(orjson.loads(run.choices)) == 2
    assert [event["type"] for event in await events(schedules)] == ["schedule.run_completed"]


async def test_an_entry_that_became_fresh_after_it_was_chosen_is_skipped(schedules: Schedules, past: Past) -> None:
    class Meanwhile(Cached):
        async def is_fresh(self, _tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
            assert for_s == 3600
            return set(keys[:1])

    await past.asked("a")
    await past.asked("b")
    schedule = await learned(schedules)
    await work(schedules, Meanwhile())
    [run] = await schedules.runs(schedule)
    assert (run.planned, run.skipped_fresh, run.submitted) == (2, 1, 1)


async def test_a_budget_that_the_jobs_themselves_use_up_stops_the_run(schedules: Schedules, past: Past) -> None:
    """Each is expected to take 100 tokens, and takes 150."""
    for number in range(12):
        await past.asked(f"page {number}")
    schedule = await learned(schedules, budget='{"max_tokens":1250}')
    worker = await schedules.store.process()
    await work(schedules)
    for _ in range(12):
        await schedules.finish(worker, lane="prewarm", tokens=150)
        await look_again(schedules)
        await schedules.clock(Cached(), now=lambda: NOW).once()
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason) == ("completed", "max_tokens")
    assert 9 <= run.submitted == run.succeeded <= 10
    assert run.over_budget == 12 - run.submitted


class Dying(ScheduleClock):
    """A clock whose process dies before its second slice is stored."""

    async def _slice(self, *arguments: Any) -> Any:
        if arguments[2] > 0:
            raise asyncio.CancelledError
        return await super()._slice(*arguments)


@pytest.fixture
async def crowd(past: Past) -> int:
    """More entries than are made into jobs at a time."""
    for number in range(130):
        await past.asked(f"page {number}", [3, 4, 5, 6, 7])
    return 130


async def test_a_run_goes_on_after_its_worker_died_with_what_was_chosen(
    schedules: Schedules, past: Past, crowd: int, clock: Callable[..., ScheduleClock]
) -> None:
    schedule = await learned(schedules)
    dying = clock(Cached(), now=lambda: NOW)
    dying.__class__ = Dying
    with pytest.raises(asyncio.CancelledError):
        await dying.work_on(await take(schedules))
    assert len(await schedules.jobs(schedule)) == 32
    # What is asked for since then changes nothing any more.
    await past.asked("late")
    await look_again(schedules)
    await work(schedules, now=NOW + timedelta(hours=5))
    made = prompts(await schedules.jobs(schedule))
    assert len(made) == len(set(made)) == crowd and "late" not in made
    [run] = await schedules.runs(schedule)
    assert (run.planned, run.submitted, len(orjson.loads(run.choices))) == (crowd, crowd, 100)


async def test_two_workers_that_choose_at_once_make_each_job_once(schedules: Schedules, crowd: int) -> None:
    schedule = await learned(schedules)
    first = await take(schedules)
    await look_again(schedules)
    second = await take(schedules)
    clocks = [schedules.clock(Cached(), now=lambda: NOW) for _ in range(2)]
    await asyncio.gather(*(each.work_on(run) for each, run in zip(clocks, (first, second), strict=True)))
    await look_again(schedules)
    await schedules.clock(Cached()).once()
    made = prompts(await schedules.jobs(schedule))
    assert len(made) == len(set(made)) == crowd
    group = (await schedules.store.rows("SELECT * FROM groups"))[0]
    assert (group.total, group.remaining) == (crowd, crowd)


async def test_a_job_that_is_deleted_after_it_was_chosen_is_not_asked_again(
    schedules: Schedules, past: Past, clock: Callable[..., ScheduleClock]
) -> None:
    class Deleting(ScheduleClock):
        async def _requests(self, *arguments: Any) -> Any:
            await schedules.store.sql("DELETE FROM jobs WHERE id = ANY (:ids)", ids=deleted)
            return await super()._requests(*arguments)

    deleted = await past.asked("secret")
    await past.asked("public")
    schedule = await learned(schedules)
    deleting = clock(Cached(), now=lambda: NOW)
    deleting.__class__ = Deleting
    await deleting.work_on(await take(schedules))
    assert prompts(await schedules.jobs(schedule)) == ["public"]
    worker = await schedules.store.process()
    await schedules.finish(worker, lane="prewarm")
    [run] = await schedules.runs(schedule)
    assert (run.status, run.submitted, run.skipped_fresh) == ("completed", 1, 1)


async def test_a_run_that_can_not_choose_ends_instead_of_keeping_its_schedule(schedules: Schedules, past: Past) -> None:
    await past.asked("What is new?")
    schedule = await learned(schedules)
    broken = (
        '{"matrix":"learned","budget":null,"template":{"endpoint":7},"ttl_s":null,"fresh_for_s":1,"timezone":"UTC",'
        '"next_run_at":"2026-03-02T09:45:00Z"}'
    )
    await schedules.store.sql("UPDATE schedule_runs SET plan = CAST(CAST(:plan AS text) AS json)", plan=broken)
    await work(schedules)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason) == ("completed", "refused")


async def test_asks_that_can_not_be_read_in_time_end_the_run_and_it_says_so(
    schedules: Schedules, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.asked("What is new?")
    schedule = await learned(schedules)
    monkeypatch.setattr("core.store.asks.WITHIN_S", 0.2)

    async def given_up() -> bool:
        # The next that it wants of the table, once it has given up reading.
        ending = "query LIKE '%UPDATE schedule_runs r SET fin%'"
        waiting = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {ending}"
        return bool(await schedules.store.rows(waiting))

    async with schedules.store.owner.begin() as connection:
        await connection.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        working = asyncio.create_task(work(schedules))
        await eventually(given_up)
    await working
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason, run.planned) == ("completed", "too_many_asks", 0)


async def test_cancelling_a_learned_run_ends_it(schedules: Schedules, past: Past, crowd: int) -> None:
    schedule = await learned(schedules, budget='{"max_tokens":1000000}')
    await work(schedules)
    [run] = await schedules.runs(schedule)
    assert 0 < run.submitted < crowd
    await cancel_group(schedules.store.api, schedules.tenant, run.id, PUBLIC_URL)
    await look_again(schedules)
    await schedules.clock(Cached()).once()
    [ended] = await schedules.runs(schedule)
    assert (ended.status, ended.cancelled) == ("cancelled", run.submitted)
