"""Runs: expanded once whoever dies, stopped by their budget, ended by their last job."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.cron import next_fire
from core.store.moves import cancel_group, resubmit
from core.store.schedule_runs import add_slice, fire_due, take_run
from policies.cache_keys import exact_key
from tests.integration.schedules.conftest import TEMPLATE, Schedules
from tests.support.store import PUBLIC_URL
from workers.schedules.clock import ScheduleClock
from workers.schedules.expansion import Plan, job_of


async def listen(schedules: Schedules) -> None:
    """Register a webhook endpoint for everything."""
    await schedules.store.sql(
        "INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret_encrypted, secret_hint) "
        "VALUES (:id, :tenant, '', 'https://example.com/', "
        "'{group.completed,schedule.run_completed}', '', '')",
        id=ids.new_id(),
        tenant=schedules.tenant,
    )


async def events(schedules: Schedules) -> list[dict[str, Any]]:
    rows = await schedules.store.rows("SELECT payload FROM webhook_events ORDER BY id")
    return [orjson.loads(row.payload) for row in rows]


async def look_again(schedules: Schedules) -> None:
    """Let the time pass until runs are looked at again."""
    await schedules.store.sql("UPDATE schedule_runs SET next_look_at = now() WHERE next_look_at IS NOT NULL")


async def test_the_last_job_ends_the_run_and_its_event_is_sent_once(schedules: Schedules) -> None:
    await listen(schedules)
    schedule = await schedules.add(size=6)
    await schedules.clock().once()
    worker = await schedules.store.process()
    assert await schedules.finish(worker, 4) == 4
    assert [run.status for run in await schedules.runs(schedule)] == ["running"]
    [failing] = await worker.claim(1)
    await worker.fail(failing)
    await schedules.finish(worker)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.succeeded, run.failed, run.tokens) == ("completed", 5, 1, 50)
    assert str(run.cost_usd) == "0.05"
    assert run.plan is None and run.finished_at is not None
    [event] = await events(schedules)
    assert event["type"] == "schedule.run_completed"
    assert event["data"]["id"] == ids.encode(ids.RUN, run.id)
    assert (event["data"]["submitted"], event["data"]["succeeded"], event["data"]["failed"]) == (6, 5, 1)
    assert (await schedules.store.rows("SELECT * FROM webhook_deliveries"))[0].status == "pending"


async def test_many_workers_that_finish_at_once_end_a_run_once(schedules: Schedules) -> None:
    await listen(schedules)
    schedule = await schedules.add(size=60)
    await schedules.clock().once()
    workers = [await schedules.store.process() for _ in range(4)]
    while any(await asyncio.gather(*(schedules.finish(worker, 3) for worker in workers))):
        pass
    assert [run.status for run in await schedules.runs(schedule)] == ["completed"]
    assert [event["type"] for event in await events(schedules)] == ["schedule.run_completed"]


async def test_retrying_a_job_of_an_ended_run_does_not_end_it_again(schedules: Schedules) -> None:
    await listen(schedules)
    schedule = await schedules.add(size=2)
    await schedules.clock().once()
    worker = await schedules.store.process()
    failing, other = await worker.claim(2)
    await worker.succeed(other)
    await worker.fail(failing)
    assert await resubmit(schedules.store.api, schedules.tenant, failing.id, PUBLIC_URL) == "default"
    await schedules.finish(worker)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.failed) == ("completed", 1)
    assert len(await events(schedules)) == 1


class Dying(ScheduleClock):
    """A clock whose process dies before its second slice is stored."""

    async def _slice(self, *arguments: Any) -> Any:
        if arguments[2] > 0:
            raise asyncio.CancelledError
        return await super()._slice(*arguments)


async def test_a_run_survives_the_death_of_the_worker_that_expands_it(
    schedules: Schedules, worker_engine: AsyncEngine
) -> None:
    schedule = await schedules.add(size=250)
    dying = schedules.clock()
    dying.__class__ = Dying
    with pytest.raises(asyncio.CancelledError):
        await dying.once()
    assert len(await schedules.jobs(schedule)) == 32
    await schedules.clock().once()
    assert len(await schedules.jobs(schedule)) == 32, "the dead one's lease holds"
    await look_again(schedules)
    await schedules.clock().once()
    await assert_each_once(schedules, schedule, 250)


async def assert_each_once(schedules: Schedules, schedule: UUID, size: int) -> None:
    prompts = [orjson.loads(job.body)["messages"][0]["content"] for job in await schedules.jobs(schedule)]
    assert len(prompts) == len(set(prompts)) == size
    [run] = await schedules.runs(schedule)
    assert (run.submitted, run.next_index, run.next_look_at) == (size, size, None)


async def test_two_workers_that_both_think_a_run_is_theirs_store_each_job_once(schedules: Schedules) -> None:
    schedule = await schedules.add(size=300)
    await fire_due(schedules.store.worker)
    first = await take_run(schedules.store.worker)
    await look_again(schedules)
    second = await take_run(schedules.store.worker)
    assert first is not None and second is not None and first.id == second.id
    await asyncio.gather(*(schedules.clock().work_on(run) for run in (first, second)))
    await look_again(schedules)
    await schedules.clock().once()
    await assert_each_once(schedules, schedule, 300)


async def test_a_slice_from_a_place_that_the_run_has_left_stores_nothing(schedules: Schedules) -> None:
    schedule = await schedules.add(size=10)
    await fire_due(schedules.store.worker)
    run = await take_run(schedules.store.worker)
    assert run is not None
    plan = Plan.of(run)
    catalog = schedules.clock()._catalog()
    jobs = [job_of(run, plan, plan.request(index), catalog) for index in range(5)]
    assert await add_slice(schedules.store.worker, run.id, 0, 5, jobs, PUBLIC_URL) is not None
    again = [job_of(run, plan, plan.request(index), catalog) for index in range(5)]
    assert await add_slice(schedules.store.worker, run.id, 0, 5, again, PUBLIC_URL) is None
    assert len(await schedules.jobs(schedule)) == 5


async def test_max_jobs_ends_a_run_with_the_rest_over_budget(schedules: Schedules) -> None:
    schedule = await schedules.add(size=200, budget='{"max_jobs":30}')
    await schedules.clock().once()
    worker = await schedules.store.process()
    await schedules.finish(worker)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason, run.submitted, run.over_budget) == ("completed", "max_jobs", 30, 170)
    group = (await schedules.store.rows("SELECT * FROM groups"))[0]
    assert (group.total, group.remaining) == (30, 0)


@pytest.mark.parametrize(
    ("budget", "reason"), [('{"max_tokens":500}', "max_tokens"), ('{"max_cost_usd":"0.5"}', "max_cost_usd")]
)
async def test_a_budget_stops_a_run_in_the_middle_and_says_so(schedules: Schedules, budget: str, reason: str) -> None:
    """Each job uses 10 tokens and costs 0.01 USD."""
    await listen(schedules)
    schedule = await schedules.add(size=200, budget=budget)
    worker = await schedules.store.process()
    for _ in range(40):
        await look_again(schedules)
        await schedules.clock().once()
        if not await schedules.finish(worker):
            break
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason) == ("completed", reason)
    assert 50 <= run.succeeded <= 58
    assert run.submitted == run.succeeded
    assert run.over_budget == 200 - run.submitted
    assert [event["data"]["reason"] for event in await events(schedules)] == [reason]


class Fresh:
    """A cache in which some entries are fresh."""

    def __init__(self, keys: set[bytes]) -> None:
        self.keys = keys
        self.asked_for_s: float | None = None

    async def is_fresh(self, _tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        self.asked_for_s = for_s
        return self.keys & set(keys)


def body_of(segment: str, category: int) -> dict[str, Any]:
    content = f"What do {segment} like about {category}?"
    return {"model": "sim/fast", "messages": [{"role": "user", "content": content}]}


def key_of(schedules: Schedules, segment: str, category: int) -> bytes:
    endpoint = TEMPLATE["endpoint"]
    return exact_key(tenant=schedules.tenant, endpoint=endpoint, model="sim/fast", body=body_of(segment, category))


async def test_prewarm_skips_what_is_fresh_and_refreshes_the_rest_in_its_own_lane(schedules: Schedules) -> None:
    schedule = await schedules.add(kind="prewarm", size=6, cron="0 3 * * *", ttl_s=3600.0)
    fresh = Fresh({key_of(schedules, "a", 0), key_of(schedules, "b", 2)})
    await schedules.clock(fresh).once()
    jobs = await schedules.jobs(schedule)
    assert len(jobs) == 4
    assert {job.lane for job in jobs} == {"prewarm"}
    options = [orjson.loads(job.cache_options) for job in jobs]
    assert {(given["mode"], given["ttl_s"]) for given in options} == {("refresh", 3600.0)}
    # Whoever asks for one of these finds it under the key that is written down here.
    assert len({given["plan"]["key"] for given in options}) == 4
    assert body_of("a", 0) not in [orjson.loads(job.body) for job in jobs]
    assert fresh.asked_for_s is not None
    until = datetime.now(UTC) + timedelta(seconds=fresh.asked_for_s)
    assert abs(until - next_fire("0 3 * * *", "UTC", datetime.now(UTC))) < timedelta(minutes=2), "the next run"
    worker = await schedules.store.process()
    await schedules.finish(worker, lane="prewarm")
    [run] = await schedules.runs(schedule)
    assert (run.status, run.planned, run.skipped_fresh, run.submitted, run.succeeded) == ("completed", 6, 2, 4, 4)


async def test_a_run_of_fresh_entries_only_ends_at_once(schedules: Schedules) -> None:
    await listen(schedules)
    schedule = await schedules.add(kind="prewarm", size=2, refresh_before_s=60.0)
    fresh = Fresh({key_of(schedules, "a", 0), key_of(schedules, "b", 0)})
    await schedules.clock(fresh).once()
    [run] = await schedules.runs(schedule)
    assert (run.status, run.skipped_fresh, run.submitted) == ("completed", 2, 0)
    assert fresh.asked_for_s == 60
    assert len(await events(schedules)) == 1


async def test_fresh_entries_do_not_count_against_the_budget(schedules: Schedules) -> None:
    schedule = await schedules.add(kind="prewarm", size=6, budget='{"max_jobs":4}')
    await schedules.clock(Fresh({key_of(schedules, "a", 0), key_of(schedules, "a", 1)})).once()
    [run] = await schedules.runs(schedule)
    assert (run.skipped_fresh, run.submitted, run.over_budget) == (2, 4, 0)


async def test_cancelling_the_group_of_a_run_ends_it(schedules: Schedules) -> None:
    await listen(schedules)
    schedule = await schedules.add(size=200, budget='{"max_tokens":100000}')
    await schedules.clock().once()
    [run] = await schedules.runs(schedule)
    assert 0 < run.submitted < 200
    await cancel_group(schedules.store.api, schedules.tenant, run.id, PUBLIC_URL)
    await look_again(schedules)
    await schedules.clock().once()
    [ended] = await schedules.runs(schedule)
    assert (ended.status, ended.cancelled, ended.reason) == ("cancelled", run.submitted, "cancelled")
    assert len(await events(schedules)) == 1


async def test_a_changed_schedule_does_not_change_the_run_that_goes_on(schedules: Schedules) -> None:
    schedule = await schedules.add(size=4)
    await fire_due(schedules.store.worker)
    before = await schedules.api.one(schedule)
    assert before is not None
    await schedules.api.change(before, {"matrix": '{"segment":["x"],"category":["y"]}'})
    await schedules.clock().once()
    assert len(await schedules.jobs(schedule)) == 4


async def test_deleting_a_schedule_in_the_middle_of_a_run_lets_its_jobs_and_their_group_end(
    schedules: Schedules,
) -> None:
    schedule = await schedules.add(size=200, budget='{"max_tokens":100000}')
    await schedules.clock().once()
    assert await schedules.api.remove(schedule)
    worker = await schedules.store.process()
    made = await schedules.finish(worker)
    group = (await schedules.store.rows("SELECT * FROM groups"))[0]
    assert 0 < made < 200
    assert (group.total, group.remaining) == (made, 0)
    assert not await schedules.runs(schedule)
    await schedules.clock().once()


async def test_other_tenants_do_not_see_a_schedule_or_its_runs(schedules: Schedules) -> None:
    schedule = await schedules.add()
    await schedules.clock().once()
    stranger = type(schedules.api)(schedules.store.api, await schedules.store.tenant())
    assert await stranger.one(schedule) is None
    assert await stranger.page(after=None, limit=10) == []
    assert await stranger.runs(schedule, after=None, limit=10) is None
    assert await stranger.run_now(schedule) is None
    assert not await stranger.remove(schedule)


async def test_a_template_that_can_not_be_expanded_ends_the_run_and_not_the_worker(schedules: Schedules) -> None:
    """Nothing like it gets past the API; should it stand in the database, every worker would meet it in turn."""
    schedule = await schedules.add(template={"endpoint": "/v1/chat/completions"}, size=4)
    await schedules.clock().once()
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason, run.submitted) == ("completed", "refused", 0)


async def test_what_the_store_refuses_ends_the_run_instead_of_keeping_it(schedules: Schedules) -> None:
    schedule = await schedules.add(template=TEMPLATE | {"priority": 77}, size=4)
    await schedules.clock().once()
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason, run.submitted) == ("completed", "refused", 0)
