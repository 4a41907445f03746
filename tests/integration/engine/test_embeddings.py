"""Embeddings on the whole way: answers kept in one encoding and asked for in the other, and prewarmed in few calls."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from core.cache import plan_job
from core.lifecycle import Status
from core.settings import Settings
from core.store.accept import NewJob
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Caller, running_api
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, new_job
from tests.support.waiting import eventually

EMBED = "/v1/embeddings"
LANES = ("interactive", "default", "bulk", "prewarm")


@pytest.fixture
async def caller(store: Store, engine_settings: Settings) -> AsyncIterator[Caller]:
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        yield await api.caller("acme", "jobs:read", "jobs:write", "admin")


def embedding(caller: Caller, options: dict[str, Any] | None = None, model: str = "sim/embed", **body: Any) -> NewJob:
    """A job of the lane prewarm, as a schedule makes it."""
    body = {"model": model, "input": "a coat"} | body
    job = new_job(caller.tenant_id, model=model, lane="prewarm", body=orjson.dumps(body).decode())
    job.endpoint = EMBED
    plan_job(job, body, options)
    return job


async def ask(caller: Caller, expect: int = 200, lane: str = "interactive", **body: Any) -> dict[str, Any]:
    request = {"endpoint": EMBED, "body": {"model": "sim/embed", "input": "a coat"} | body, "lane": lane}
    answer = await caller.http.post("/v1/jobs", json=request, headers={"prefer": "wait=20"})
    assert answer.status_code == expect, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def all_done(store: Store, jobs: list[NewJob]) -> None:
    async def look() -> bool:
        return all([await store.status(job.id) is Status.SUCCEEDED for job in jobs])

    await eventually(look)


def vectors(job: dict[str, Any]) -> list[Any]:
    return [item["embedding"] for item in job["result"]["data"]]


def unpacked(text: str) -> tuple[float, ...]:
    raw = base64.b64decode(text)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def rounded(numbers: list[float]) -> tuple[float, ...]:
    """Numbers as float32 holds them."""
    return struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *numbers))


async def test_prewarmed_numbers_answer_a_client_that_asks_for_base64(
    store: Store, caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=LANES)
    warmed = embedding(caller, {"mode": "refresh"}, input=["a coat", "a hat"])
    await store.accept(warmed)
    await all_done(store, [warmed])
    job = await ask(caller, input=["a coat", "a hat"], encoding_format="base64")
    kept = orjson.loads((await store.job(warmed.id)).result)
    assert job["cache"]["status"] == "hit"
    assert [unpacked(text) for text in vectors(job)] == [rounded(item["embedding"]) for item in kept["data"]]
    assert {**job["result"], "data": None} == {**kept, "data": None}
    assert simulator.stats()["requests"] == 1


async def test_base64_that_was_kept_answers_a_client_that_asks_for_numbers(
    caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=LANES)
    first = await ask(caller, encoding_format="base64")
    second = await ask(caller)
    third = await ask(caller, encoding_format="base64")
    assert [each["cache"]["status"] for each in (first, second, third)] == ["miss", "hit", "hit"]
    assert vectors(third) == vectors(first)
    assert rounded(vectors(second)[0]) == unpacked(vectors(first)[0])
    assert simulator.stats()["requests"] == 1


async def test_a_worker_tells_a_hit_in_the_encoding_that_its_job_asks_for(
    store: Store, caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=LANES)
    first = await ask(caller)
    later = embedding(caller, encoding_format="base64")
    await store.accept(later)
    await all_done(store, [later])
    row = await store.job(later.id)
    assert orjson.loads(row.cache)["status"] == "hit"
    [text] = [item["embedding"] for item in orjson.loads(row.result)["data"]]
    assert unpacked(text) == rounded(vectors(first)[0])
    assert simulator.stats()["requests"] == 1


async def test_jobs_in_flight_at_once_get_what_each_asked_for(
    caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=LANES)
    encodings = [None, "base64"] * 10
    jobs = await asyncio.gather(*(ask(caller, encoding_format=each) for each in encodings))
    for each, job in zip(encodings, jobs, strict=True):
        [vector] = vectors(job)
        assert isinstance(vector, str if each else list)
    assert {rounded(vectors(job)[0]) for job in jobs[::2]} == {unpacked(vectors(job)[0]) for job in jobs[1::2]}
    assert simulator.stats()["requests"] <= 2


async def test_prewarmed_embeddings_share_upstream_calls(
    store: Store, caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    warmed = [embedding(caller, {"mode": "refresh"}, model="sim/gpu", input=f"coat {number}") for number in range(100)]
    await store.accept(*warmed)
    await start_engine(lanes=LANES)
    await all_done(store, warmed)
    assert simulator.stats()["requests"] <= 20
    for number in range(0, 100, 9):
        job = await ask(caller, model="sim/gpu", input=f"coat {number}")
        assert job["cache"]["status"] == "hit"
        assert vectors(job) == [
            item["embedding"] for item in orjson.loads((await store.job(warmed[number].id)).result)["data"]
        ]
    costs = await store.rows("SELECT DISTINCT lane, cost_usd IS NULL AS unknown FROM jobs WHERE lane = 'prewarm'")
    assert [row.unknown for row in costs] == [False]
