"""Caches and shared calls on the whole way: over HTTP, through two workers, to the simulator."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from core.settings import Settings
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Caller, job_request, running_api
from tests.support.simulator import RunningSimulator
from tests.support.store import Store
from tests.support.waiting import eventually


def asking(
    text: str = "Where is my coat?", stream: bool = False, sim: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    request = job_request(text, **fields)
    request["body"] |= {"temperature": 0, "stream": stream} | ({"sim": sim} if sim else {})
    return request


async def run(caller: Caller, wait_s: int = 20, expect: int = 200, **fields: Any) -> dict[str, Any]:
    answer = await caller.http.post("/v1/jobs", json=asking(**fields), headers={"prefer": f"wait={wait_s}"})
    assert answer.status_code == expect, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def test_the_second_who_asks_is_answered_at_once(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine()
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        caller = await api.caller()
        first = await run(caller)
        second = await caller.http.post("/v1/jobs", json=asking(), headers={"idempotency-key": "k"})
        again = await caller.http.post("/v1/jobs", json=asking(), headers={"idempotency-key": "k"})
        streamed = await run(caller, stream=True)
        events = (await caller.http.get(f"/v1/jobs/{streamed['id']}/events")).text
        only = await run(caller, cache={"mode": "only"})
        missed = await run(caller, 20, 409, text="Never asked", cache={"mode": "only"})
        fresh = await run(caller, cache={"mode": "refresh"})
        off = await run(caller, cache={"mode": "off"})
        varied = await caller.http.post("/v1/jobs", json=job_request(), headers={"prefer": "wait=20"})

    assert first["cache"]["status"] == "miss"
    assert second.status_code == 200
    assert second.json()["cache"]["status"] == "hit"
    assert second.json()["result"] == first["result"]
    assert again.json()["id"] == second.json()["id"]
    assert (streamed["cache"]["status"], only["cache"]["status"]) == ("hit", "hit")
    assert "event: job.delta" in events
    assert missed["error"]["code"] == "cache_miss"
    assert (fresh["cache"]["status"], off["cache"]["status"]) == ("refreshed", "bypass")
    assert varied.json()["cache"]["status"] == "bypass"
    assert simulator.stats()["requests"] == 4


async def test_a_thousand_identical_jobs_at_once_make_one_call(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine()
    await start_engine()
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        caller = await api.caller()
        limit = asyncio.Semaphore(100)

        async def submit() -> None:
            async with limit:
                answer = await caller.http.post("/v1/jobs", json=asking())
                assert answer.status_code in (200, 202)

        await asyncio.gather(*(submit() for _ in range(1000)))

        async def all_there() -> bool:
            return await store.statuses() == {"succeeded": 1000}

        await eventually(all_there)
    assert simulator.stats()["requests"] == 1
    # A row for every question of the day would be many.
    assert await store.value("SELECT count(*) FROM concurrency_keys") == 0


async def test_a_shared_call_survives_an_empty_redis_and_a_cancelled_leader(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine()
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        caller = await api.caller()
        hanging = asking(sim={"hang": True})
        leader = (await caller.http.post("/v1/jobs", json=hanging)).json()
        await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
        for _ in range(5):
            await caller.http.post("/v1/jobs", json=hanging)
        await caller.post(f"/v1/jobs/{leader['id']}/cancel")
        await asyncio.to_thread(simulator.wait_for, min_requests=2)
        redis = Redis.from_url(engine_settings.redis_url)
        await redis.flushall()
        await redis.aclose()
        await asyncio.to_thread(simulator.control, release=True)

        async def all_there() -> bool:
            return await store.statuses() == {"cancelled": 1, "succeeded": 5}

        await eventually(all_there)
    assert simulator.stats()["requests"] == 2


async def test_what_a_prewarm_run_left_answers_the_live_request_on_every_public_path(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=("interactive", "default", "bulk", "prewarm", "maintenance"))
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        schedule = await caller.post(
            "/v1/schedules", 201, {
                "name": "cards", "kind": "prewarm", "cron": "0 3 * * *", "timezone": "UTC",
                "template": {
                    "endpoint": "/v1/chat/completions",
                    "body": {"model": "sim/fast", "messages": [{"role": "user", "content": "Cards for {{segment}}"}]},
                },
                "matrix": {"segment": ["a", "b", "c"]}, "ttl_s": 3600, "refresh_before_s": 600,
            },
        )  # fmt: skip
        path = f"/v1/schedules/{schedule['id']}"
        await caller.http.post(f"{path}/run")

        async def run_ended() -> bool:
            runs = (await caller.get(f"{path}/runs"))["data"]
            return bool(runs) and runs[0]["status"] == "completed"

        await eventually(run_ended)
        assert simulator.stats()["requests"] == 3
        # The template does not say temperature 0, so the caller has to ask for the cache too; `default` will do.
        for stream in (False, True):
            request = job_request("Cards for b", cache={"mode": "default"})
            request["body"]["stream"] = stream
            answer = await caller.http.post("/v1/jobs", json=request)
            assert (answer.status_code, answer.headers["x-coatcheck-cache"]) == (200, "hit")
        request = job_request("Cards for c", cache={"mode": "only"})
        group = await caller.post("/v1/jobs/bulk", 202, [request, request])

        async def group_ended() -> bool:
            return bool((await caller.get(f"/v1/groups/{group['id']}"))["status"] == "completed")

        await eventually(group_ended)
        assert (await caller.get(f"/v1/groups/{group['id']}"))["counts"]["succeeded"] == 2
        # A second run finds everything fresh.
        await caller.http.post(f"{path}/run")

        async def skipped() -> bool:
            runs = (await caller.get(f"{path}/runs"))["data"]
            return len(runs) == 2 and runs[0]["status"] == "completed"

        await eventually(skipped)
        latest = (await caller.get(f"{path}/runs"))["data"][0]
        stats = await caller.get("/v1/cache/stats")
    assert simulator.stats()["requests"] == 3
    assert (latest["skipped_fresh"], latest["submitted"]) == (3, 0)
    assert stats["total"]["hits"] == 4
