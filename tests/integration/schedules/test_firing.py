"""A schedule fires once for each of its times, whoever looks and however late."""

import asyncio
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy.exc import IntegrityError

from core import ids
from core.store.schedule_runs import fire_due, take_run, warm_windows
from core.store.schedules import StillRunning
from tests.integration.schedules.conftest import Schedules


async def test_a_due_schedule_makes_one_job_for_every_combination(schedules: Schedules, rung: list[str]) -> None:
    schedule = await schedules.add(size=6)
    await schedules.clock().once()
    [run] = await schedules.runs(schedule)
    assert (run.status, run.trigger, run.planned, run.submitted) == ("running", "cron", 6, 6)
    jobs = await schedules.jobs(schedule)
    assert [orjson.loads(job.body)["messages"][0]["content"] for job in jobs][:2] == [
        "What do a like about 0?",
        "What do a like about 1?",
    ]
    assert {job.group_id for job in jobs} == {run.id}
    assert {tuple(await schedules.store.places(job.id)) for job in jobs} == {("ready",)}
    assert set(rung) == {"default"}


async def test_many_clocks_fire_a_time_once(schedules: Schedules) -> None:
    added = [await schedules.add(size=2) for _ in range(12)]
    clocks = [schedules.clock() for _ in range(4)]
    await asyncio.gather(*(clock.once() for clock in clocks))
    await schedules.clock().once()
    for schedule in added:
        assert len(await schedules.runs(schedule)) == 1
        assert len(await schedules.jobs(schedule)) == 2


async def test_a_time_that_had_its_run_gets_no_other(schedules: Schedules) -> None:
    """As if a clock had fired, and the schedule's row had then been set back."""
    schedule = await schedules.add(cron="0 3 * * *")
    due = await schedules.store.value("SELECT next_run_at FROM schedules WHERE id = :id", id=schedule)
    assert len((await fire_due(schedules.store.worker)).runs) == 1
    await schedules.store.sql(
        "UPDATE schedule_runs SET status = 'completed', finished_at = now(), plan = NULL, next_look_at = NULL"
    )
    await schedules.store.sql("UPDATE schedules SET next_run_at = :due WHERE id = :id", due=due, id=schedule)
    assert not (await fire_due(schedules.store.worker)).runs
    assert len(await schedules.runs(schedule)) == 1


async def test_the_database_refuses_a_second_run_for_a_time(schedules: Schedules) -> None:
    schedule = await schedules.add()
    await schedules.clock().once()
    with pytest.raises(IntegrityError):
        await schedules.store.sql(
            "INSERT INTO schedule_runs (id, schedule_id, tenant_id, kind, slot, trigger, status, finished_at) "
            "SELECT :id, schedule_id, tenant_id, kind, slot, 'cron', 'skipped', now() FROM schedule_runs "
            "WHERE schedule_id = :schedule",
            id=ids.new_id(),
            schedule=schedule,
        )


async def test_the_next_time_is_set_before_anything_is_done(schedules: Schedules) -> None:
    schedule = await schedules.add(cron="0 3 * * *")
    await fire_due(schedules.store.worker)
    following = await schedules.store.value("SELECT next_run_at FROM schedules WHERE id = :id", id=schedule)
    assert following > datetime.now(UTC)
    assert following.hour == 3


async def test_times_missed_within_the_hour_are_made_up_for_by_one_run(schedules: Schedules) -> None:
    schedule = await schedules.add(cron="*/10 * * * *")
    now = datetime.now(UTC).replace(minute=55, second=30, microsecond=0)
    await schedules.store.sql(
        "UPDATE schedules SET next_run_at = :due WHERE id = :id", due=now.replace(minute=20, second=0), id=schedule
    )
    await fire_due(schedules.store.worker, now=now)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.trigger, run.missed) == ("running", "catch_up", 3)
    assert run.slot == now.replace(minute=50, second=0)


async def test_a_beat_and_workers_that_were_down_for_days_leave_no_pile(schedules: Schedules) -> None:
    schedule = await schedules.add(cron="* * * * *")
    await schedules.make_due(schedule, "9 days")
    for _ in range(3):
        await schedules.clock().once()
    [run] = await schedules.runs(schedule)
    assert run.missed > 50


async def test_a_time_missed_by_more_than_an_hour_is_given_up_and_said_so(schedules: Schedules) -> None:
    schedule = await schedules.add(cron="0 3 * * *")
    due = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)
    await schedules.store.sql("UPDATE schedules SET next_run_at = :due WHERE id = :id", due=due, id=schedule)
    await fire_due(schedules.store.worker, now=due + timedelta(minutes=61))
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason, run.slot) == ("skipped", "missed", due)
    assert not await schedules.jobs(schedule)


async def test_a_time_that_comes_while_a_run_goes_on_is_skipped_and_said_so(schedules: Schedules) -> None:
    schedule = await schedules.add(size=2)
    await schedules.clock().once()
    await schedules.make_due(schedule)
    await schedules.clock().once()
    first, second = await schedules.runs(schedule)
    assert (first.status, second.status, second.reason) == ("running", "skipped", "overlap")
    assert len(await schedules.jobs(schedule)) == 2


async def test_a_run_begun_by_hand_keeps_others_out_too(schedules: Schedules) -> None:
    schedule = await schedules.add()
    run = await schedules.api.run_now(schedule)
    with pytest.raises(StillRunning) as going:
        await schedules.api.run_now(schedule)
    assert run is not None
    assert going.value.run_id == run["id"]
    await schedules.clock().once()
    assert [each.status for each in await schedules.runs(schedule)] == ["running", "skipped"]


async def test_two_callers_start_one_run(schedules: Schedules) -> None:
    schedule = await schedules.add()
    outcomes = await asyncio.gather(*(schedules.api.run_now(schedule) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, StillRunning) for outcome in outcomes) == 4
    assert len(await schedules.runs(schedule)) == 1


async def test_a_schedule_that_can_no_longer_be_read_does_not_stop_the_others(schedules: Schedules) -> None:
    broken, sound = await schedules.add(), await schedules.add(size=2)
    await schedules.store.sql("UPDATE schedules SET timezone = 'Atlantis/Centre' WHERE id = :id", id=broken)
    await schedules.clock().once()
    assert not await schedules.runs(broken)
    assert len(await schedules.jobs(sound)) == 2


async def test_a_paused_schedule_is_not_looked_at(schedules: Schedules) -> None:
    schedule = await schedules.add()
    before = await schedules.api.one(schedule)
    assert before is not None
    await schedules.api.change(before, {"paused": True, "next_run_at": None})
    await schedules.clock().once()
    assert not await schedules.runs(schedule)


async def test_a_window_of_warmth_opens_early_lasts_its_time_and_is_extended(schedules: Schedules) -> None:
    template = {"models": ["sim/fast"], "deployments": [], "window_s": 600.0, "every_s": 45.0}
    schedule = await schedules.add(kind="keep_warm", cron="0 * * * *", template=template)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    await schedules.store.sql(
        "UPDATE schedules SET next_run_at = :due WHERE id = :id", due=hour - timedelta(minutes=5), id=schedule
    )
    await fire_due(schedules.store.worker, now=hour - timedelta(minutes=4, seconds=59))
    [window] = await warm_windows(schedules.store.worker)
    assert window.ends_at == hour + timedelta(minutes=10)
    assert await take_run(schedules.store.worker) is None
    await fire_due(schedules.store.worker, now=hour + timedelta(minutes=55, seconds=1))
    [window] = await warm_windows(schedules.store.worker)
    assert window.ends_at == hour + timedelta(minutes=70)
    assert len(await schedules.runs(schedule)) == 1
    await schedules.store.sql("UPDATE schedule_runs SET ends_at = now(), next_look_at = now()")
    await schedules.clock().once()
    [run] = await schedules.runs(schedule)
    assert run.status == "completed"
    assert not await warm_windows(schedules.store.worker)
