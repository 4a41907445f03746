"""What callers see of caches: a hit's stream, the hours, and letting answers go."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.announce import open_redis
from core.cache import About, Cache, Entry, hit_of, plan_job
from core.settings import CacheSettings, Settings
from core.store.cached import HitCommitter
from tests.support.api import Api, Caller, running_api
from tests.support.store import CHAT, PUBLIC_URL, Store, chat_body, new_job


@pytest.fixture
async def api(settings: Settings, owner: AsyncEngine) -> AsyncIterator[Api]:
    async with running_api(settings, owner) as api:
        yield api


@pytest.fixture
async def admin(api: Api) -> Caller:
    return await api.caller("acme", "jobs:read", "admin")


@pytest.fixture
async def cache(settings: Settings) -> AsyncIterator[Cache]:
    redis = open_redis(settings.redis_url, 2.0)
    cache = Cache(redis, CacheSettings(wait_s=2.0))
    yield cache
    await cache.close()
    await redis.aclose()


def entry(**about: Any) -> Entry:
    told = {"endpoint": CHAT, "model": "sim/fast"} | about
    answer = (
        '{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"On the third hook."}}]}'
    )
    return Entry(answer, {"total_tokens": 9}, Decimal("0.0001"), 120.0, time.time(), None, About(**told))


def key(number: int) -> bytes:
    return b"\x01" + number.to_bytes(32, "big")


async def test_the_stream_of_a_hit_is_whole_and_can_be_resumed(store: Store, admin: Caller) -> None:
    hits = HitCommitter(store.api, PUBLIC_URL, work=lambda _: None)
    hits.start()
    body = chat_body("sim/fast", temperature=0, stream=True)
    job = new_job(admin.tenant_id, body=body, stream=True)
    plan_job(job, orjson.loads(body), None)
    await hits.submit(hit_of(job, entry(), 1.0))
    await hits.stop()
    path = f"/v1/jobs/{ids.encode(ids.JOB, job.id)}/events"

    whole = (await admin.http.get(path)).text
    rest = (await admin.http.get(path, params={"after": 2})).text

    kinds = [line.removeprefix("event: ") for line in whole.splitlines() if line.startswith("event: ")]
    numbers = [int(line.removeprefix("id: ")) for line in whole.splitlines() if line.startswith("id: ")]
    assert kinds == ["job.queued", *["job.delta"] * (len(kinds) - 2), "job.succeeded"]
    assert numbers == list(range(1, len(kinds) + 1))
    assert "On the third hook." in whole
    assert next(line for line in rest.splitlines() if line.startswith("id: ")) == "id: 3"
    shown = await admin.get(f"/v1/jobs/{ids.encode(ids.JOB, job.id)}")
    assert (shown["status"], shown["cost_usd"], shown["cache"]["status"]) == ("succeeded", "0", "hit")

    stats = await admin.get("/v1/cache/stats")
    assert stats["total"]["hits"] == 1
    assert stats["total"]["saved_usd"] == "0.0001"
    assert stats["data"][0]["model"] == "sim/fast"


async def book(store: Store, tenant: UUID, status: str, usd: str | None, *, model: str = "sim/fast") -> None:
    """Store a job that was answered from a cache."""
    hits = HitCommitter(store.api, PUBLIC_URL, work=lambda _: None)
    hits.start()
    cost = None if usd is None else Decimal(usd)
    job = new_job(tenant, model=model, body=chat_body(model, temperature=0))
    one = hit_of(job, replace(entry(), cost_usd=cost), 1.0)
    one.cache = orjson.dumps(orjson.loads(one.cache) | {"status": status}).decode()
    await hits.submit(one)
    await hits.stop()


async def test_what_was_saved_is_told_at_least_and_null_where_nothing_is_known(store: Store, admin: Caller) -> None:
    empty = (await admin.get("/v1/cache/stats"))["total"]
    assert (empty["saved_usd"], empty["unpriced"], empty["saved_s"]) == ("0", 0, 0)
    await book(store, admin.tenant_id, "hit", None)
    await book(store, admin.tenant_id, "semantic_hit", None)
    unknown = (await admin.get("/v1/cache/stats"))["total"]
    assert (unknown["saved_usd"], unknown["unpriced"], unknown["saved_tokens"]) == (None, 2, 18)
    await book(store, admin.tenant_id, "semantic_hit", "0.0001", model="sim/large")
    await book(store, admin.tenant_id, "hit", "0", model="sim/free")
    told = await admin.get("/v1/cache/stats")
    assert (told["total"]["hits"], told["total"]["semantic_hits"], told["total"]["unpriced"]) == (2, 2, 2)
    assert (told["total"]["saved_usd"], told["total"]["saved_s"]) == ("0.0001", 0.48)
    rows = {row["model"]: (row["saved_usd"], row["unpriced"]) for row in told["data"]}
    assert rows == {"sim/fast": (None, 2), "sim/large": ("0.0001", 0), "sim/free": ("0", 0)}


async def test_hours_stand_apart(store: Store, admin: Caller) -> None:
    await book(store, admin.tenant_id, "hit", "0.5")
    await store.sql("UPDATE cache_hours SET hour = hour - interval '3 h'")
    await book(store, admin.tenant_id, "semantic_hit", "0.25")
    await book(store, admin.tenant_id, "semantic_hit", "0.25")
    told = await admin.get("/v1/cache/stats")
    assert [(row["hits"], row["semantic_hits"], row["saved_usd"]) for row in told["data"]] == [
        (1, 0, "0.5"),
        (0, 2, "0.5"),
    ]
    assert told["data"][0]["hour"] < told["data"][1]["hour"]
    assert told["total"]["saved_usd"] == "1"
    recent = await admin.get("/v1/cache/stats", **{"from": told["data"][1]["hour"]})
    assert len(recent["data"]) == 1
    early = await admin.get("/v1/cache/stats", to=told["data"][1]["hour"])
    assert [row["hour"] for row in early["data"]] == [told["data"][0]["hour"]]


async def test_letting_answers_go_takes_those_that_fit(admin: Caller, cache: Cache) -> None:
    schedule = ids.new_id()
    await cache.put(admin.tenant_id, key(1), entry(metadata={"category": "tents"}), None, 1.0)
    await cache.put(admin.tenant_id, key(2), entry(model="sim/slow"), None, 1.0)
    await cache.put(admin.tenant_id, key(3), entry(schedule_id=schedule.hex), None, 1.0)
    await cache.put(admin.tenant_id, key(4), entry(), None, 1.0)
    assert (await admin.get("/v1/cache/stats"))["entries"] == 4

    async def gone(**asked: Any) -> int:
        answer = await admin.post("/v1/cache/invalidate", 200, asked)
        return int(answer["invalidated"])

    assert await gone(metadata={"category": "boots"}) == 0
    assert await gone(metadata={"category": "tents"}) == 1
    assert await gone(model="sim/slow") == 1
    assert await gone(schedule_id=ids.encode(ids.SCHEDULE, ids.new_id())) == 0
    assert await gone(schedule_id=ids.encode(ids.SCHEDULE, schedule)) == 1
    assert await gone(endpoint="/v1/embeddings") == 0
    assert (await admin.post("/v1/cache/invalidate"))["invalidated"] == 1
    assert (await admin.get("/v1/cache/stats"))["entries"] == 0


async def test_another_tenants_answers_stay(api: Api, admin: Caller, cache: Cache) -> None:
    other = await api.caller("globex", "admin")
    await cache.put(admin.tenant_id, key(1), entry(), None, 1.0)
    assert (await other.post("/v1/cache/invalidate"))["invalidated"] == 0
    assert (await admin.get("/v1/cache/stats"))["entries"] == 1


async def test_invalidation_promises_nothing_while_redis_is_away(settings: Settings, owner: AsyncEngine) -> None:
    nowhere = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})
    async with running_api(nowhere, owner) as api:
        admin = await api.caller("acme", "admin")
        answer = await admin.http.post("/v1/cache/invalidate", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await admin.get("/v1/cache/stats"))["entries"] is None


async def test_caches_are_for_admins(api: Api) -> None:
    caller = await api.caller()
    await caller.get("/v1/cache/stats", 403)
    await caller.post("/v1/cache/invalidate", 403)


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "2026-01-01T00:00:00Z"},
        {"to": "2020-01-01T00:00:00Z", "from": "2021-01-01T00:00:00Z"},
        {"hour": "1"},
        {"to": "0001-01-01T00:00:00Z"},
        {"to": "0001-01-01T00:00:00Z", "from": "0001-01-01T00:00:00Z"},
    ],
)
@pytest.mark.parametrize("path", ["stats", "shadow"])
async def test_impossible_spans_are_refused(admin: Caller, path: str, query: dict[str, str]) -> None:
    await admin.get(f"/v1/cache/{path}", 422, **query)


async def test_the_last_day_of_the_calendar_has_stats_too(admin: Caller) -> None:
    await admin.get("/v1/cache/stats", 200, to="9999-12-31T23:59:59Z")


@pytest.mark.parametrize("asked", [{"modell": "x"}, {"metadata": {"$a": "x"}}, {"endpoint": 5}])
async def test_what_is_not_understood_invalidates_nothing(admin: Caller, cache: Cache, asked: dict[str, Any]) -> None:
    await cache.put(admin.tenant_id, key(1), entry(), None, 1.0)
    await admin.post("/v1/cache/invalidate", 422, asked)
    assert (await admin.get("/v1/cache/stats"))["entries"] == 1
