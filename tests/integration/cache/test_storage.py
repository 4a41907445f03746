"""Entries in a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.cache import About, Cache, Entry
from core.settings import CacheSettings

TENANT = uuid4()
KEY = b"\x01" + b"k" * 32
CHAT = "/v1/chat/completions"


def entry(text: str = "On the third hook.", **about: Any) -> Entry:
    told = {"endpoint": CHAT, "model": "sim/fast"} | about
    return Entry(
        f'{{"text":"{text}"}}',
        {"total_tokens": 9},
        Decimal("0.0001"),
        120.0,
        time.time(),
        {"deployment": "sim"},
        About(**told),
    )


def key(number: int) -> bytes:
    return b"\x01" + number.to_bytes(32, "big")


@pytest.fixture
async def make(client: "Redis") -> AsyncIterator[Callable[..., Cache]]:
    made: list[Cache] = []

    def one(redis: "Redis" = client, **changes: Any) -> Cache:
        made.append(Cache(redis, CacheSettings(**({"wait_s": 2.0} | changes))))
        return made[-1]

    yield one
    for cache in made:
        await cache.close()


async def test_what_was_kept_is_found_again(make: Callable[..., Cache]) -> None:
    kept = entry("long " * 1000)
    assert await make().put(TENANT, KEY, kept, None, 1.0)
    assert await make().get(TENANT, KEY) == kept


async def test_a_body_above_a_kilobyte_is_kept_compressed(make: Callable[..., Cache], client: "Redis") -> None:
    await make().put(TENANT, KEY, entry("long " * 1000), None, 1.0)
    [name] = [name async for name in client.scan_iter("*:e:*")]
    assert await client.strlen(name) < 1000


async def test_another_tenants_entry_is_never_given_even_under_the_right_name(
    make: Callable[..., Cache], client: "Redis"
) -> None:
    stranger = uuid4()
    await make().put(TENANT, KEY, entry(), None, 1.0)
    [name] = [name async for name in client.scan_iter("*:e:*")]
    await client.copy(name, name.replace(TENANT.hex.encode(), stranger.hex.encode()))
    assert await make().get(stranger, KEY) is None


async def test_many_look_ups_of_one_moment_are_each_answered_with_their_own(make: Callable[..., Cache]) -> None:
    cache = make()
    for number in range(20):
        await cache.put(TENANT, key(number), entry(str(number)), None, 1.0)
    found = await asyncio.gather(*(cache.get(TENANT, key(number)) for number in range(25)))
    assert [each.result if each else None for each in found] == [entry(str(n)).result for n in range(20)] + [None] * 5


async def test_an_entry_ends_with_its_time(make: Callable[..., Cache], client: "Redis") -> None:
    await make().put(TENANT, KEY, entry(), 30.0, 1.0)
    [name] = [name async for name in client.scan_iter("*:e:*")]
    assert 29_000 < await client.pttl(name) <= 30_000


async def test_the_least_used_leave_when_the_budget_is_full(make: Callable[..., Cache], client: "Redis") -> None:
    cache = make(tenant_bytes=10_000)
    for number in range(10):
        await cache.put(TENANT, key(number), entry(), None, 1.0)
    before = await cache.size(TENANT)
    assert before is not None
    # The first one was used lately.
    await client.zadd(f"coatcheck:cache:{{{TENANT.hex}}}:used", {key(0).hex(): time.time() * 1000 + 60_000})
    for number in range(10, 40):
        await cache.put(TENANT, key(number), entry(), None, 1.0)

    size = await cache.size(TENANT)
    assert size is not None
    assert size[1] <= 10_000
    assert await cache.get(TENANT, key(0)) is not None
    assert await cache.get(TENANT, key(1)) is None
    assert await cache.get(TENANT, key(39)) is not None
    assert len([name async for name in client.scan_iter("*:e:*")]) == size[0]


async def test_one_tenants_budget_is_not_anothers(make: Callable[..., Cache]) -> None:
    cache, other = make(tenant_bytes=3_000), uuid4()
    await cache.put(other, KEY, entry(), None, 1.0)
    for number in range(40):
        await cache.put(TENANT, key(number), entry(), None, 1.0)
    assert await cache.get(other, KEY) is not None


async def test_keeping_an_entry_again_counts_its_size_once(make: Callable[..., Cache]) -> None:
    cache = make()
    kept = entry()
    await cache.put(TENANT, KEY, kept, None, 1.0)
    once = await cache.size(TENANT)
    await cache.put(TENANT, KEY, kept, None, 1.0)
    assert await cache.size(TENANT) == once


async def test_what_is_larger_than_allowed_is_not_kept(make: Callable[..., Cache]) -> None:
    assert not await make(entry_bytes=100).put(TENANT, KEY, entry(), None, 1.0)
    assert not await make(tenant_bytes=100).put(TENANT, KEY, entry(), None, 1.0)
    assert await make().size(TENANT) == (0, 0)


async def test_invalidation_takes_what_fits_and_leaves_the_rest(make: Callable[..., Cache]) -> None:
    cache = make()
    await cache.put(TENANT, key(1), entry(metadata={"category": "tents"}), None, 1.0)
    await cache.put(TENANT, key(2), entry(metadata={"category": "boots"}), None, 1.0)
    await cache.put(UUID(int=7), key(1), entry(metadata={"category": "tents"}), None, 1.0)

    gone = await cache.invalidate(TENANT, lambda about: (about.metadata or {}).get("category") == "tents")

    assert gone == 1
    assert await cache.get(TENANT, key(1)) is None
    assert await cache.get(TENANT, key(2)) is not None
    assert await cache.get(UUID(int=7), key(1)) is not None


async def test_an_answer_asked_for_before_an_invalidation_is_not_kept_after_it(make: Callable[..., Cache]) -> None:
    cache = make()
    await cache.invalidate(TENANT, lambda _: True)
    assert not await cache.put(TENANT, KEY, entry(), None, began_s_ago=5.0)
    assert await cache.get(TENANT, KEY) is None


async def test_without_redis_everything_is_a_miss(make: Callable[..., Cache]) -> None:
    away = open_redis("redis://127.0.0.1:9/0", 0.2)
    cache = make(away)
    assert await cache.get(TENANT, KEY) is None
    assert not await cache.put(TENANT, KEY, entry(), None, 1.0)
    assert await cache.size(TENANT) is None
    await away.aclose()


async def test_a_redis_that_does_not_answer_is_a_miss_and_is_left_alone_for_a_moment(
    make: Callable[..., Cache], client: "Redis", redis: EmbeddedRedis
) -> None:
    silent = open_redis(redis.url, 20.0)
    cache = make(silent, wait_s=0.05)
    assert await cache.put(TENANT, KEY, entry(), None, 1.0)
    await client.client_pause(1500)
    assert await cache.get(TENANT, KEY) is None
    assert not cache.reachable
    await silent.aclose()


async def test_a_busy_loop_is_not_taken_for_a_lost_redis(make: Callable[..., Cache]) -> None:
    cache = make(wait_s=0.05)
    assert await cache.put(TENANT, KEY, entry(), None, 1.0)  # connected
    over = asyncio.Event()

    async def keep_busy() -> None:
        while not over.is_set():
            time.sleep(0.03)
            await asyncio.sleep(0)

    busy = asyncio.create_task(keep_busy())
    kept = await asyncio.gather(*(cache.put(TENANT, key(number), entry(), None, 1.0) for number in range(20)))
    found = await asyncio.gather(*(cache.get(TENANT, key(number)) for number in range(20)))
    over.set()
    await busy
    assert all(kept) and None not in found and cache.reachable


async def test_a_full_redis_keeps_nothing_more_and_still_tells_what_it_has(
    make: Callable[..., Cache], client: "Redis"
) -> None:
    cache = make()
    assert await cache.put(TENANT, KEY, entry(), None, 1.0)
    await client.config_set("maxmemory", 1)
    try:
        assert not await cache.put(TENANT, key(2), entry(), None, 1.0)
        assert await cache.get(TENANT, KEY) is not None
    finally:
        await client.config_set("maxmemory", 0)
    assert await cache.put(TENANT, key(2), entry(), None, 1.0)


async def test_damaged_bytes_are_a_miss(make: Callable[..., Cache], client: "Redis") -> None:
    await make().put(TENANT, KEY, entry("long " * 1000), None, 1.0)
    [name] = [name async for name in client.scan_iter("*:e:*")]
    whole = await client.get(name)
    assert isinstance(whole, bytes)
    for broken in (b"", whole[:50], whole[:-10], whole[:51] + b"\xff" + whole[52:]):
        await client.set(name, broken)
        assert await make().get(TENANT, KEY) is None
