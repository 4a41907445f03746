"""What a job is told of caches when it is made."""

from typing import Any
from uuid import uuid4

import orjson

from core import ids
from core.cache import Planned, plan_job
from core.store.accept import NewJob

TENANT = uuid4()
CHAT = "/v1/chat/completions"


def job(**fields: Any) -> NewJob:
    return NewJob(ids.new_id(), TENANT, CHAT, "sim/fast", "{}", **fields)


FIXED: dict[str, Any] = {"model": "sim/fast", "messages": [{"role": "user", "content": "Where?"}], "temperature": 0}
VARIED = {**FIXED, "temperature": 1}


def told(made: NewJob) -> Planned:
    return Planned.of(orjson.loads(made.cache_options) if made.cache_options else None)


def test_the_worker_is_told_what_was_planned() -> None:
    made = job()
    planned = plan_job(made, FIXED, {"mode": "default", "ttl_s": 60.0})
    assert planned.plan.ttl_s == 60.0
    assert told(made) == planned


def test_jobs_with_one_answer_share_a_flight_of_their_lane() -> None:
    first, second, urgent = job(), job(), job(lane="interactive")
    for each in (first, second, urgent):
        plan_job(each, FIXED, None)
    assert first.concurrency_key == second.concurrency_key is not None
    assert first.concurrency_limit == 1
    # An urgent job never waits behind one that may stand in a long line.
    assert urgent.concurrency_key not in (None, first.concurrency_key)
    assert told(urgent).key == told(first).key


def test_streaming_or_not_is_the_same_answer() -> None:
    plain, streaming = job(), job(stream=True)
    plan_job(plain, FIXED, None)
    plan_job(streaming, {**FIXED, "stream": True}, None)
    assert told(plain).key == told(streaming).key


def test_a_concurrency_key_of_the_callers_own_stays() -> None:
    made = job(concurrency_key="mine", concurrency_limit=3)
    assert plan_job(made, FIXED, None).plan.look
    assert (made.concurrency_key, made.concurrency_limit) == ("mine", 3)


def test_what_passes_caches_by_costs_and_changes_nothing() -> None:
    made = job()
    assert plan_job(made, VARIED, None) == Planned()
    assert (made.cache_options, made.concurrency_key) == (None, None)


def test_a_refresh_shares_nothing_and_has_the_key_of_the_job_it_refreshes() -> None:
    fresh, plain = job(), job()
    plan_job(fresh, FIXED, {"mode": "refresh"})
    plan_job(plain, FIXED, None)
    assert fresh.concurrency_key is None
    assert told(fresh).key == told(plain).key
