"""What learned prewarm chooses: what people ask for at an hour is there before they ask, and for nobody else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from core import ids
from policies.cache_keys import exact_key
from tests.integration.schedules.conftest import Schedules
from tests.integration.schedules.learned import Cached, learned, prompts, work
from tests.integration.schedules.test_runs import events, listen
from tests.support.past import BERLIN, NOW, WEEKDAYS, Past, body_of, key_of
from tests.support.store import CHAT


async def warmed(schedules: Schedules, past: Past, **members: Any) -> list[str]:
    """The prompts that a run warms."""
    schedule = await learned(schedules, **members)
    await work(schedules)
    return prompts(await schedules.jobs(schedule))


async def test_what_is_asked_for_at_nine_on_weekdays_is_warmed_in_the_run_before(
    schedules: Schedules, past: Past
) -> None:
    asked = await past.asked("What is new?")
    await past.asked("What is for dinner?", hour=18)
    schedule = await learned(schedules)
    await work(schedules)
    [job] = await schedules.jobs(schedule)
    assert (job.lane, job.body) == ("prewarm", orjson.dumps(body_of("What is new?")).decode())
    options = orjson.loads(job.cache_options)
    assert (options["mode"], options["plan"]["key"]) == ("refresh", key_of(schedules.tenant, "What is new?").hex())
    [run] = await schedules.runs(schedule)
    [choice] = orjson.loads(run.choices)
    assert choice["job_id"] == ids.encode(ids.JOB, asked[0]), "the newest of those who asked"
    assert choice["probability"] > 0.7
    assert choice["expected_saved_ms"] == pytest.approx(2000 * choice["probability"], rel=0.01)
    assert (choice["endpoint"], choice["model"], choice["cost_usd"]) == (CHAT, "sim/fast", "0.001000000")
    assert "asked for 4 times on Mondays and 20 times on all days" in choice["reason"]


async def test_what_nobody_will_ask_for_before_the_next_run_is_left_to_that(schedules: Schedules, past: Past) -> None:
    await listen(schedules)
    await past.asked("What is new?", hour=14)
    schedule = await learned(schedules)
    await work(schedules)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.reason, run.planned, run.choices) == ("completed", "nothing_likely", 0, "[]")
    assert not await schedules.jobs(schedule)
    assert [event["data"]["reason"] for event in await events(schedules)] == ["nothing_likely"]


async def test_habits_of_weekdays_are_not_expected_on_saturdays(schedules: Schedules, past: Past) -> None:
    await past.asked("What is new?")
    saturday = NOW - timedelta(days=2)
    schedule = await learned(schedules, saturday)
    await work(schedules, now=saturday)
    assert not await schedules.jobs(schedule)


async def test_hours_are_those_of_the_schedules_time_zone(schedules: Schedules, past: Past) -> None:
    """Summer time begins on 29 March: who asks at nine does so an hour earlier in UTC from then on."""
    monday = datetime(2026, 3, 30, 8, 45, tzinfo=BERLIN).astimezone(UTC)
    await past.asked("What is new?", [day - 28 for day in WEEKDAYS])
    schedule = await learned(schedules, monday)
    await work(schedules, now=monday)
    assert len(await schedules.jobs(schedule)) == 1


async def test_one_ask_is_no_habit(schedules: Schedules, past: Past) -> None:
    await past.asked("What is new?", [7])
    assert await warmed(schedules, past) == []


async def test_the_most_valuable_entries_come_first_within_the_budget(schedules: Schedules, past: Past) -> None:
    await past.asked("slow", ms=9000)
    await past.asked("quick", ms=100)
    await past.asked("dear", ms=9000, usd="1.0")
    schedule = await learned(schedules, budget='{"max_jobs":2}')
    await work(schedules)
    assert prompts(await schedules.jobs(schedule)) == ["slow", "quick"]
    [run] = await schedules.runs(schedule)
    assert (run.planned, run.submitted, run.over_budget, run.reason) == (2, 2, 1, "max_jobs")


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ('{"max_cost_usd":"0.01"}', "max_cost_usd"),
        ('{"max_tokens":150}', "max_tokens"),
        ('{"max_tokens":150,"max_cost_usd":"5"}', "max_tokens"),
        ('{"max_tokens":250,"max_cost_usd":"0.01"}', "max_cost_usd"),
    ],
)
async def test_what_does_not_fit_into_the_budget_is_left_out(
    schedules: Schedules, past: Past, budget: str, reason: str
) -> None:
    await past.asked("cheap", usd="0.001")
    await past.asked("dear", usd="1.0")
    schedule = await learned(schedules, budget=budget)
    await work(schedules)
    assert prompts(await schedules.jobs(schedule)) == ["cheap"]
    [run] = await schedules.runs(schedule)
    assert (run.over_budget, run.reason) == (1, reason)


async def test_a_budget_with_room_for_nothing_ends_the_run(schedules: Schedules, past: Past) -> None:
    await past.asked("dear", usd="1.0")
    schedule = await learned(schedules, budget='{"max_cost_usd":"0.5"}')
    await work(schedules)
    [run] = await schedules.runs(schedule)
    assert (run.status, run.planned, run.over_budget, run.reason) == ("completed", 0, 1, "max_cost_usd")


async def test_entries_that_are_fresh_for_long_enough_are_left_alone(schedules: Schedules, past: Past) -> None:
    for prompt in ("fresh", "soon stale", "gone"):
        await past.asked(prompt)
    schedule = await learned(schedules, refresh_before_s=600.0)
    left = {key_of(schedules.tenant, "fresh"): 601.0, key_of(schedules.tenant, "soon stale"): 599.0}
    await work(schedules, Cached(left))
    assert sorted(prompts(await schedules.jobs(schedule))) == ["gone", "soon stale"]


async def test_what_other_tenants_ask_for_is_never_used(schedules: Schedules, past: Past) -> None:
    stranger = await schedules.store.tenant()
    await past.asked("theirs", tenant=stranger)
    await past.asked("ours")
    assert await warmed(schedules, past) == ["ours"]


async def test_only_asks_that_a_warm_cache_makes_quicker_count(schedules: Schedules, past: Past) -> None:
    await past.asked("made by a schedule", schedule_id=ids.new_id())
    await past.asked("prewarmed", lane="prewarm")
    await past.asked("in bulk", lane="bulk")
    await past.asked("refreshed", options={"mode": "refresh"})
    await past.asked("not cached", options={"mode": "off"})
    await past.asked("failing", status="failed", result=None, error='{"code":"upstream_error"}')
    await past.asked("varies", body=body_of("varies", temperature=1))
    await past.asked("asked to be cached", body=body_of("asked to be cached", temperature=1), options={"ttl_s": 60})
    assert await warmed(schedules, past) == ["asked to be cached"]


async def test_hits_count_as_asks_and_tell_what_a_miss_costs(schedules: Schedules, past: Past) -> None:
    hit = {"status": "hit", "similarity": None, "age_s": 5, "saved": {"tokens": 70, "usd": "0.25", "ms": 1500.0}}
    await past.asked("What is new?", cache=orjson.dumps(hit).decode(), timing="{}", usd="0")
    schedule = await learned(schedules)
    await work(schedules)
    [run] = await schedules.runs(schedule)
    [choice] = orjson.loads(run.choices)
    assert choice["cost_usd"] == "0.250000000"
    assert "saves 1.5 s" in choice["reason"]


async def test_a_template_says_which_asks_are_looked_at(schedules: Schedules, past: Past) -> None:
    await past.asked("fast")
    await past.asked("other", body=body_of("other", model="sim/chat"))
    assert await warmed(schedules, past, template={"body": {"model": "sim/chat"}}) == ["other"]
    assert await warmed(schedules, past, template={"endpoint": "/v1/embeddings"}) == []
    assert sorted(await warmed(schedules, past, template={"endpoint": CHAT})) == ["fast", "other"]


async def test_models_that_are_gone_are_not_warmed(schedules: Schedules, past: Past) -> None:
    await past.asked("What is new?", body=body_of("What is new?", model="sim/retired"))
    assert await warmed(schedules, past) == []


async def test_an_ask_for_auto_is_routed_anew_and_kept_under_its_own_key(schedules: Schedules, past: Past) -> None:
    body = body_of("What is new?", model="auto")
    await past.asked("What is new?", body=body)
    schedule = await learned(schedules)
    await work(schedules)
    [job] = await schedules.jobs(schedule)
    assert (job.model, orjson.loads(job.route)["model"]) == ("auto", job.route_model)
    key = exact_key(tenant=schedules.tenant, endpoint=CHAT, model="auto", body=body)
    assert orjson.loads(job.cache_options)["plan"]["key"] == key.hex()
