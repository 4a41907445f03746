"""Jobs by the schedule that made them, and what a run tells of their answers."""

import pytest
from sqlalchemy import text

from core.store.listing import JobFilter, list_jobs
from tests.integration.schedules.conftest import Schedules
from tests.support.store import new_job


async def test_jobs_can_be_listed_by_their_schedule(schedules: Schedules) -> None:
    schedule = await schedules.add(size=4)
    await schedules.add(size=2)
    await schedules.clock().once()
    page = await list_jobs(
        schedules.store.api, schedules.tenant, JobFilter(schedule_id=schedule), after=None, limit=100
    )
    assert len(page) == 4
    assert {row["schedule_id"] for row in page} == {schedule}


async def test_the_jobs_of_a_schedule_are_found_by_index_among_many_others(schedules: Schedules) -> None:
    schedule = await schedules.add(size=4)
    await schedules.clock().once()
    await schedules.store.accept(*(new_job(schedules.tenant) for _ in range(2000)))
    async with schedules.store.owner.begin() as connection:
        await connection.execute(text("ANALYZE jobs"))
        query = (
            "EXPLAIN SELECT * FROM jobs WHERE tenant_id = :tenant AND schedule_id = :schedule ORDER BY id DESC LIMIT 20"
        )
        plan = (
            (await connection.execute(text(query), {"tenant": schedules.tenant, "schedule": schedule})).scalars().all()
        )
    assert any("schedule_id_id_idx" in line for line in plan), plan
    assert not any("tenant_id_id_idx" in line for line in plan), plan


@pytest.mark.parametrize(("kind", "lane", "reason"), [("prewarm", "prewarm", "not_kept"), ("jobs", "default", None)])
async def test_a_prewarm_run_whose_answers_are_not_all_kept_says_so(
    schedules: Schedules, kind: str, lane: str, reason: str | None
) -> None:
    schedule = await schedules.add(kind=kind, size=4)
    await schedules.clock().once()
    worker = await schedules.store.process()
    await schedules.finish(worker, 3, lane=lane, cache='{"status":"refreshed"}')
    await schedules.finish(worker, lane=lane, cache='{"status":"refreshed","kept":false}')
    [run] = await schedules.runs(schedule)
    assert (run.status, run.succeeded, run.reason) == ("completed", 4, reason)
