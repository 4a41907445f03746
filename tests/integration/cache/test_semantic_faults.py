"""What is missing or away costs near answers, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.cache import Cache, InProcessEmbedder, Planned, Semantic
from core.database import connect
from core.settings import CacheSettings, Settings
from core.store.semantic import NewVector, count_vectors, make_vectors, nearest, put_vectors, retire_semantic, why_off
from policies.cache_policy import CachePlan
from policies.likeness import signature
from tests.integration.cache.test_semantic import QUESTION, SAME, ask, status, world
from tests.integration.engine.conftest import StartEngine
from tests.support.servers import Databases, migrate
from tests.support.simulator import RunningSimulator
from tests.support.store import Store
from tests.support.waiting import eventually

PART, OTHER = b"p" * 33, b"q" * 33
EMBEDDER = InProcessEmbedder()


@pytest.fixture
async def cache(redis: EmbeddedRedis) -> AsyncIterator[Cache]:
    client: Redis = open_redis(redis.url, 2.0)
    cache = Cache(client, CacheSettings(wait_s=2.0))
    yield cache
    await cache.close()
    await client.aclose()


async def vector(tenant: UUID, text: str, key: bytes, ttl_s: float = 60, partition: bytes = PART) -> NewVector:
    found = await EMBEDDER.embed(text)
    assert found is not None
    return NewVector(tenant, partition, EMBEDDER.name, key, text, found, signature(text, partition), ttl_s)


async def near(engine: AsyncEngine, tenant: UUID, text: str, partition: bytes = PART) -> list[bytes]:
    found = await EMBEDDER.embed(text)
    assert found is not None
    return [
        each.key
        for each in await nearest(engine, tenant, partition, EMBEDDER.name, found, signature(text, partition), 3)
    ]


async def drop_vectors(store: Store) -> None:
    await store.sql("DROP FUNCTION semantic_near")
    await store.sql("DROP TABLE semantic_entries")


async def test_without_vectors_jobs_run_as_ever_and_the_stats_say_why(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await drop_vectors(store)
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        assert status(await ask(caller)) == "miss"
        assert status(await ask(caller, SAME)) == "miss"
        assert status(await ask(caller, SAME)) == "hit"
        told = (await caller.get("/v1/cache/stats"))["semantic"]
        ready = await caller.get("/readyz")
    assert (told["available"], told["entries"]) == (False, None)
    assert "coatcheck migrate" in told["reason"]
    assert "degraded" not in ready or "semantic" not in str(ready["degraded"])
    assert await retire_semantic(store.worker, cap=10, shadows=10, keep_shadows=timedelta(days=1)) == 0


async def test_a_later_migrate_makes_the_vectors_that_the_first_could_not(store: Store) -> None:
    await drop_vectors(store)
    assert await make_vectors(store.owner) is None
    assert await make_vectors(store.owner) is None
    tenant = await store.tenant()
    await put_vectors(store.worker, [await vector(tenant, QUESTION, b"k" * 33)])
    assert await near(store.api, tenant, SAME) == [b"k" * 33]


async def test_a_database_without_the_extension_migrates_all_the_same_and_says_what_to_do(databases: Databases) -> None:
    url = databases.create_empty()
    admin = await asyncpg.connect(
        host=str(databases.server.sockets), user="postgres", database=url.split("?")[0].rsplit("/", 1)[1]
    )
    await admin.execute("DROP EXTENSION vector")
    engine = connect(Settings(database_url=url), None, pool_size=2, name="test-no-vectors")
    async with engine.begin() as connection:
        await connection.run_sync(migrate)

    assert "may not create the extension" in (await make_vectors(engine) or "")
    assert "CREATE EXTENSION vector" in (await why_off(engine) or "")
    await admin.execute("CREATE EXTENSION vector")
    assert "coatcheck migrate" in (await why_off(engine) or "")
    assert await make_vectors(engine) is None
    assert await why_off(engine) is None

    await engine.dispose()
    await admin.close()
    databases.drop(url)


async def test_a_database_that_does_not_answer_in_time_is_a_miss(store: Store, cache: Cache) -> None:
    tenant = await store.tenant()
    semantic = Semantic(store.api, cache, CacheSettings(semantic_wait_s=0.05))
    plan = Planned(CachePlan(look=True, keep=True, semantic="on"), b"x" * 33, PART)
    async with store.owner.begin() as locker:
        await locker.exec_driver_sql("LOCK TABLE semantic_entries IN ACCESS EXCLUSIVE MODE")
        assert await semantic.find(tenant, plan, QUESTION, EMBEDDER) is None
    await semantic.close()


async def test_a_lost_redis_is_a_miss_and_the_vector_stays(store: Store, redis: EmbeddedRedis) -> None:
    client = Redis.from_url("unix:///nowhere/redis.sock")
    cache = Cache(client, CacheSettings())
    tenant = await store.tenant()
    await put_vectors(store.worker, [await vector(tenant, QUESTION, b"k" * 33)])
    semantic = Semantic(store.api, cache, CacheSettings())
    plan = Planned(CachePlan(look=True, keep=True, semantic="on"), b"x" * 33, PART)

    assert await semantic.find(tenant, plan, SAME, EMBEDDER) is None

    await semantic.close()
    assert await near(store.api, tenant, SAME) == [b"k" * 33]
    await client.aclose()


async def test_partitions_tenants_and_what_has_run_out_stay_apart(store: Store) -> None:
    tenant, other = await store.tenant(), await store.tenant()
    keys = [bytes([number]) * 33 for number in range(4)]
    await put_vectors(
        store.worker,
        [
            await vector(tenant, QUESTION, keys[0]),
            await vector(tenant, QUESTION, keys[1], partition=OTHER),
            await vector(other, QUESTION, keys[2]),
            await vector(tenant, QUESTION, keys[3], ttl_s=-1),
        ],
    )
    assert await near(store.api, tenant, SAME) == [keys[0]]
    assert await near(store.api, other, SAME) == [keys[2]]
    assert await count_vectors(store.api, tenant) == 3


async def test_a_large_partition_is_searched_by_its_index_and_finds_the_same(store: Store) -> None:
    tenant = await store.tenant()
    await put_vectors(store.worker, [await vector(tenant, QUESTION, b"k" * 33)])
    for start in range(0, 1500, 500):
        numbered = [(start + place).to_bytes(33, "big") for place in range(500)]
        await put_vectors(
            store.worker,
            [
                await vector(tenant, f"Where is shelf {start + place} of hall {place % 7}?", key)
                for place, key in enumerate(numbered)
            ],
        )
    assert (await near(store.api, tenant, SAME))[0] == b"k" * 33


async def test_a_question_whose_vector_lies_far_from_all_others_is_found_by_its_words(store: Store) -> None:
    """An index of vectors may lose it among many that are alike."""
    tenant = await store.tenant()
    far = await vector(tenant, QUESTION, b"k" * 33)
    await put_vectors(store.worker, [replace(far, vector=[1.0, *[0.0] * 255])])
    crowd = [await vector(tenant, f"Where is shelf {n} of hall {n % 7}?", n.to_bytes(33, "big")) for n in range(1200)]
    await put_vectors(store.worker, crowd)

    assert b"k" * 33 in await near(store.api, tenant, SAME)


async def test_what_has_run_out_goes_and_a_tenant_keeps_only_its_newest(store: Store) -> None:
    tenant, other = await store.tenant(), await store.tenant()
    for number in range(6):
        await put_vectors(store.worker, [await vector(tenant, QUESTION, bytes([number]) * 33)])
    await put_vectors(
        store.worker, [await vector(other, QUESTION, b"k" * 33), await vector(other, SAME, b"o" * 33, -1)]
    )

    async def all_gone() -> bool:
        return await retire_semantic(store.worker, cap=4, shadows=1, keep_shadows=timedelta(days=1), most=2) == 0

    await eventually(all_gone)
    rows = await store.rows("SELECT tenant_id, cache_key FROM semantic_entries")
    left = {(row.tenant_id, bytes(row.cache_key)) for row in rows}
    assert left == {(tenant, bytes([number]) * 33) for number in range(2, 6)} | {(other, b"k" * 33)}


async def test_questions_that_are_kept_at_once_are_all_found(store: Store, cache: Cache) -> None:
    tenant = await store.tenant()
    semantic = Semantic(store.worker, cache, CacheSettings(semantic_wait_s=10))
    plans = [Planned(CachePlan(look=True, keep=True, semantic="on"), bytes([n]) * 33, PART) for n in range(100)]

    await asyncio.gather(*(semantic.keep(tenant, plan, f"Where is shelf {plan.key[0]}?", EMBEDDER) for plan in plans))

    assert await count_vectors(store.api, tenant) == 100
    await semantic.close()
