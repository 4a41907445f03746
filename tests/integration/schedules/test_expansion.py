"""What a run makes of its combinations."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest

from core.database import as_tenant
from core.store.moves import cancel_group
from core.store.schedule_runs import fire_due, open_run, take_run
from tests.integration.schedules.conftest import Schedules
from tests.support.store import PUBLIC_URL
from workers.schedules.freshness import NothingIsFresh


class AllFresh(NothingIsFresh):
    """A cache that has everything."""

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        return set(keys)


async def test_combinations_that_make_one_request_fill_one_entry_once(schedules: Schedules) -> None:
    matrix = {"segment": ["a", "b", "a"], "category": [1], "unused": ["x", "y"]}
    schedule = await schedules.add(kind="prewarm", matrix=matrix)
    await schedules.clock().once()
    jobs = await schedules.jobs(schedule)
    assert len(jobs) == len({orjson.loads(job.cache_options)["plan"]["key"] for job in jobs}) == 2
    [run] = await schedules.runs(schedule)
    assert (run.planned, run.skipped_fresh, run.submitted) == (6, 4, 2)


async def test_a_schedule_of_jobs_makes_all_of_them(schedules: Schedules) -> None:
    schedule = await schedules.add(matrix={"segment": ["a", "a"], "category": [1]})
    await schedules.clock().once()
    assert len(await schedules.jobs(schedule)) == 2


async def test_a_run_is_cancelled_also_while_none_of_its_jobs_is_left(schedules: Schedules) -> None:
    schedule = await schedules.add(size=200, budget='{"max_tokens":100000}')
    await schedules.clock().once()
    worker = await schedules.store.process()
    made = await schedules.finish(worker)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.submitted) == ("running", made)
    await cancel_group(schedules.store.api, schedules.tenant, run.id, PUBLIC_URL)
    await schedules.store.sql("UPDATE schedule_runs SET next_look_at = now() WHERE id = :id", id=run.id)
    await schedules.clock().once()
    [ended] = await schedules.runs(schedule)
    assert (ended.status, ended.reason, ended.submitted, ended.succeeded) == ("cancelled", "cancelled", made, made)
    assert await schedules.finish(worker) == 0


async def test_a_group_whose_jobs_have_all_ended_stays_completed(schedules: Schedules) -> None:
    schedule = await schedules.add(size=4)
    await schedules.clock().once()
    await schedules.finish(await schedules.store.process())
    [run] = await schedules.runs(schedule)
    await cancel_group(schedules.store.api, schedules.tenant, run.id, PUBLIC_URL)
    [group] = await schedules.store.rows("SELECT cancelled_at FROM groups")
    assert group.cancelled_at is None


async def test_a_run_ends_while_somebody_is_about_to_begin_the_next_one(schedules: Schedules) -> None:
    schedule = await schedules.add(kind="prewarm", size=2)
    await fire_due(schedules.store.worker)
    run = await take_run(schedules.store.worker)
    assert run is not None
    async with as_tenant(schedules.store.api, schedules.tenant) as beginning:
        held = await schedules.api._one(beginning, schedule, lock=True)
        assert held is not None
        await schedules.clock(AllFresh()).work_on(run)
    [ended] = await schedules.runs(schedule)
    assert (ended.status, ended.skipped_fresh) == ("completed", 2)


async def test_a_run_that_ends_just_when_the_next_is_refused_lets_it_begin(
    schedules: Schedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = await schedules.add()
    await fire_due(schedules.store.worker)

    async def open_late(*arguments: Any) -> UUID | None:
        begun = await open_run(*arguments)
        if begun is None:
            await schedules.store.sql("UPDATE schedule_runs SET status = 'completed', finished_at = now()")
        return begun

    monkeypatch.setattr("core.store.schedules.open_run", open_late)
    begun = await schedules.api.run_now(schedule)
    assert begun is not None
    assert [(run.id == begun["id"], run.status) for run in await schedules.runs(schedule)] == [
        (False, "completed"),
        (True, "running"),
    ]


async def test_a_short_run_does_not_wait_for_the_end_of_a_long_one(schedules: Schedules) -> None:
    long = await schedules.add(size=200)
    short = await schedules.add(size=2)
    await schedules.make_due(long, "1 minute")
    await schedules.clock(turn_s=0).once()
    ends = [[job.id for job in await schedules.jobs(schedule)][-1] for schedule in (short, long)]
    assert ends == sorted(ends)
    assert (len(await schedules.jobs(long)), len(await schedules.jobs(short))) == (200, 2)
