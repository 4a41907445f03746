"""The semantic cache on the whole way: over HTTP, through a worker, to the simulator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from policies.cache_policy import CacheRules
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Api, Caller, job_request, running_api
from tests.support.simulator import RunningSimulator
from tests.support.store import Store
from tests.support.waiting import eventually

QUESTION, SAME, OPPOSITE = "How do I cancel my order?", "How can I cancel my order?", "How do I not cancel my order?"
LOCAL_EMBEDDER = """
[[deployments]]
model = "local/embed"
provider = "local"
endpoints = ["/v1/embeddings"]

[cache]
embedder = "local/embed"
"""


@asynccontextmanager
async def world(
    store: Store, settings: Settings, start_engine: StartEngine, catalog: str = "", **changes: Any
) -> AsyncIterator[Api]:
    """An API and a worker with a catalog."""
    Path(settings.catalog).write_text(catalog, encoding="utf-8")
    await start_engine(**changes)
    async with running_api(settings, store.owner, catalog=settings.catalog) as api:
        yield api


async def ask(
    caller: Caller,
    text: str = QUESTION,
    *,
    cache: dict[str, Any] | None = None,
    system: str = "Be brief.",
    expect: int = 200,
    **body: Any,
) -> dict[str, Any]:
    """The Job of a question that has been answered; `cache` {} leaves the member out."""
    request = job_request(text)
    if cache != {}:
        request["cache"] = {"semantic": True} if cache is None else cache
    request["body"]["messages"].insert(0, {"role": "system", "content": system})
    request["body"] |= {"temperature": 0} | body
    answer = await caller.http.post("/v1/jobs", json=request, headers={"prefer": "wait=20"})
    assert answer.status_code == expect, answer.text
    job: dict[str, Any] = answer.json()
    return job


def status(job: dict[str, Any]) -> str:
    told: str = job["cache"]["status"]
    return told


async def test_another_wording_of_a_question_is_answered_at_once(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller()
        first = await ask(caller)
        second = await ask(caller, SAME)
        streamed = await ask(caller, SAME, stream=True)
        events = (await caller.http.get(f"/v1/jobs/{streamed['id']}/events")).text

    assert status(first) == "miss"
    assert (status(second), second["cost_usd"]) == ("semantic_hit", "0")
    assert 0.9 < second["cache"]["similarity"] < 1
    assert second["cache"]["age_s"] >= 0
    assert second["result"] == first["result"]
    assert second["route"]["deployment"] == first["route"]["deployment"]
    assert status(streamed) == "semantic_hit"
    assert "event: job.delta" in events
    assert simulator.stats()["requests"] == 1
    [hours] = await store.rows(
        "SELECT sum(hits) AS hits, sum(semantic_hits) AS near, sum(misses) AS m FROM cache_hours"
    )
    assert (hours.hits, hours.near, hours.m) == (0, 2, 1)


async def test_the_opposite_is_asked_anew_however_near_it_is(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller()
        await ask(caller)
        assert status(await ask(caller, OPPOSITE)) == "miss"
        assert status(await ask(caller, "How do I cancel my order 4711?")) == "miss"
    assert simulator.stats()["requests"] == 3


async def test_only_the_last_message_may_differ_and_nothing_crosses_tenants(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller, stranger = await api.caller(), await api.caller("globex")
        await ask(caller)
        assert status(await ask(caller, SAME, system="Be a pirate.")) == "miss"
        assert status(await ask(caller, SAME, model="sim/bench")) == "miss"
        assert status(await ask(caller, SAME, seed=7)) == "miss"
        assert status(await ask(stranger, SAME)) == "miss"
        assert status(await ask(caller, SAME, cache={"semantic": False})) == "miss"
        assert status(await ask(caller, SAME)) == "hit"


async def test_only_counts_a_near_answer_where_it_was_asked_for(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller()
        await ask(caller)
        assert status(await ask(caller, SAME, cache={"mode": "only", "semantic": True})) == "semantic_hit"
        assert status(await ask(caller, SAME, cache={"mode": "refresh", "semantic": True})) == "refreshed"
        for wanted in ({"mode": "only"}, {"mode": "only", "semantic": True, "threshold": 0.99}):
            refused = await ask(caller, "What is the way to cancel my order?", cache=wanted, expect=409)
            assert refused["error"]["code"] == "cache_miss"


async def test_an_answer_that_was_let_go_is_met_no_more_and_its_vector_goes_too(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        await ask(caller)
        stats = await caller.get("/v1/cache/stats")
        assert stats["semantic"] == {"available": True, "reason": None, "embedder": "wordllama", "entries": 1}
        await caller.post("/v1/cache/invalidate", json={"model": "sim/fast"})
        assert status(await ask(caller, SAME)) == "miss"
        assert status(await ask(caller, "What is the way to cancel my order?")) == "semantic_hit"

        async def one_is_left() -> bool:
            return bool(await store.value("SELECT count(*) FROM semantic_entries") == 1)

        await eventually(one_is_left)


async def test_the_catalog_turns_it_on_for_a_model_and_a_request_turns_it_off(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    catalog = '[models."sim/fast".cache]\nmode = "always"\nsemantic = "on"\nthreshold = 0.95\nttl_s = 60\n'
    async with world(store, engine_settings, start_engine, catalog) as api:
        caller = await api.caller()
        await ask(caller, cache={}, temperature=1)
        assert status(await ask(caller, SAME, cache={}, temperature=1)) == "semantic_hit"
        assert status(await ask(caller, SAME, cache={"semantic": False}, temperature=1)) == "miss"
        assert status(await ask(caller, SAME, cache={"mode": "off"}, temperature=1)) == "bypass"
        other: dict[str, Any] = {"model": "sim/bench", "temperature": 1}
        assert status(await ask(caller, SAME, cache={}, **other)) == "bypass"
    left = "SELECT max(extract(epoch FROM expires_at - created_at)) FROM semantic_entries"
    assert await store.value(left) == 60


async def test_a_key_says_what_its_jobs_do_not(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    catalog = '[models."sim/fast".cache]\nsemantic = "off"\nmode = "off"\n'
    async with world(store, engine_settings, start_engine, catalog) as api:
        keen = await api.caller(cache=CacheRules(mode="always", semantic="on"))
        plain = await api.caller()
        await ask(keen, cache={}, temperature=1)
        assert status(await ask(keen, SAME, cache={}, temperature=1)) == "semantic_hit"
        assert status(await ask(plain, SAME, cache={})) == "bypass"


async def test_jobs_of_a_bulk_and_jobs_for_later_are_looked_up_by_the_worker(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller()
        await ask(caller)
        request = job_request(SAME, cache={"semantic": True})
        request["body"]["messages"].insert(0, {"role": "system", "content": "Be brief."})
        request["body"]["temperature"] = 0
        group = await caller.post("/v1/jobs/bulk", 202, json=[request])
        # One after the other: together they would share a look.
        await _ended(caller, 2)
        await caller.post("/v1/jobs", 202, json=request | {"delay_s": 0.2})
        [one, other] = (await _ended(caller, 3))[:2]
    assert group["total"] == 1
    assert [status(one), status(other)] == ["semantic_hit", "semantic_hit"]
    assert simulator.stats()["requests"] == 1


async def _ended(caller: Caller, jobs: int) -> list[dict[str, Any]]:
    listed = (await caller.get("/v1/jobs"))["data"]
    assert len(listed) == jobs
    return [await caller.get(f"/v1/jobs/{job['id']}", wait=20) for job in listed]


@pytest.mark.parametrize("mode", ["default", "only"])
async def test_with_an_embedder_of_the_catalog_the_worker_looks(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator, mode: str
) -> None:
    async with world(store, engine_settings, start_engine, LOCAL_EMBEDDER) as api:
        caller = await api.caller()
        await ask(caller)
        near = await ask(caller, SAME, cache={"mode": mode, "semantic": True})
        far = await ask(
            caller, "Who wrote Faust?", expect=409 if mode == "only" else 200, cache={"mode": mode, "semantic": True}
        )
    assert (status(near), near["timing"]["queued_ms"] > 0) == ("semantic_hit", True)
    if mode == "only":
        assert far["error"]["code"] == "cache_miss"
    else:
        assert status(far) == "miss"
    assert await store.value("SELECT min(embedder) FROM semantic_entries") == "local/embed"


@pytest.mark.parametrize("trouble", [{"hang": True}, {"error": "server_error"}])
async def test_an_embedder_that_is_ill_costs_near_answers_and_no_job(
    store: Store,
    engine_settings: Settings,
    start_engine: StartEngine,
    simulator: RunningSimulator,
    trouble: dict[str, Any],
) -> None:
    async with world(store, engine_settings, start_engine, '[cache]\nembedder = "sim/embed"\n') as api:
        caller = await api.caller()
        simulator.control(model="sim/embed", **trouble)
        assert [status(await ask(caller, text)) for text in (QUESTION, SAME, SAME)] == ["miss", "miss", "hit"]
    assert await store.value("SELECT count(*) FROM semantic_entries") == 0


async def test_what_a_prewarm_run_left_answers_other_wordings_where_the_model_wants_it(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    catalog = '[models."sim/fast".cache]\nsemantic = "on"\n'
    lanes = ("interactive", "default", "bulk", "prewarm", "maintenance")
    async with world(store, engine_settings, start_engine, catalog, lanes=lanes) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        body = {
            "model": "sim/fast", "temperature": 0,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How do I cancel my {{what}}?"}],
        }  # fmt: skip
        schedule = await caller.post(
            "/v1/schedules", 201, {
                "name": "questions", "kind": "prewarm", "cron": "0 3 * * *", "timezone": "UTC",
                "template": {"endpoint": "/v1/chat/completions", "body": body}, "matrix": {"what": ["order", "flight"]},
            },
        )  # fmt: skip
        await caller.post(f"/v1/schedules/{schedule['id']}/run", 202)
        await _ran(caller, schedule["id"])
        assert status(await ask(caller, SAME, cache={})) == "semantic_hit"
        assert status(await ask(caller, SAME.replace("order", "hotel"), cache={})) == "miss"


async def _ran(caller: Caller, schedule: str) -> None:
    async def done() -> bool:
        [run] = (await caller.get(f"/v1/schedules/{schedule}/runs"))["data"]
        return bool(run["succeeded"] == 2)

    await eventually(done)
