"""Waiting for jobs: woken by Redis when it is there, by the poll when it is not."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from uuid import UUID

import pytest
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core import ids
from core.announce import KEYS, Announcer, delta_channel, open_redis
from core.live import Hub, ShuttingDown
from core.store.work import DeltaChunk, store_deltas
from tests.support.proxy import Proxy
from tests.support.store import Store
from tests.support.waiting import eventually

NEVER_S = 3600.0


@pytest.fixture
async def open_hub(store: Store, redis: EmbeddedRedis) -> AsyncIterator[Callable[..., Hub]]:
    opened: list[tuple[Hub, Redis]] = []

    def start(url: str = redis.url, **polls: float) -> Hub:
        client = open_redis(url, 0.5)
        hub = Hub(store.api, client, **({"poll_s": NEVER_S, "poll_without_redis_s": NEVER_S} | polls))
        hub.start()
        opened.append((hub, client))
        return hub

    yield start
    for hub, client in opened:
        await hub.stop()
        await client.aclose()


@pytest.fixture
async def announcer(redis: EmbeddedRedis) -> AsyncIterator[Announcer]:
    client = open_redis(redis.url, 0.5)
    announcer = Announcer(client)
    announcer.start()
    yield announcer
    await announcer.stop()
    await client.aclose()


async def listening(hub: Hub) -> None:
    async def look() -> bool:
        return hub.redis_up

    await eventually(look)


async def cancelled_job(store: Store) -> tuple[UUID, UUID]:
    tenant = await store.tenant()
    job = await store.add(tenant)
    await store.cancel(tenant, job)
    return tenant, job


async def test_an_announcement_wakes_whoever_waits_for_that_job(
    store: Store, open_hub: Callable[..., Hub], announcer: Announcer
) -> None:
    hub = open_hub()
    await listening(hub)
    tenant, job = ids.new_id(), ids.new_id()
    with hub.watch(tenant, job) as mine, hub.watch(tenant, job) as too, hub.watch(tenant, ids.new_id()) as other:
        announcer.moved([job])
        assert await mine.changed(10)
        assert await too.changed(10)
        assert not await other.changed(0.05)
        assert not await mine.changed(0)
    assert hub.waiting == 0


async def test_without_redis_the_poll_brings_the_news(store: Store, open_hub: Callable[..., Hub]) -> None:
    hub = open_hub("unix:///nonexistent/redis.sock?db=0", poll_without_redis_s=0.05)
    tenant = await store.tenant()
    job = await store.add(tenant)
    with hub.watch(tenant, job) as watch:
        watch.version = 1
        assert not await watch.changed(0.2)
        await store.cancel(tenant, job)
        assert await watch.changed(10)
    assert not hub.redis_up


async def test_what_redis_lost_comes_with_the_poll(store: Store, open_hub: Callable[..., Hub]) -> None:
    hub = open_hub(poll_s=0.05, poll_without_redis_s=0.05)
    await listening(hub)
    tenant, job = await cancelled_job(store)
    with hub.watch(tenant, job) as watch:
        watch.version = 1
        assert await watch.changed(10)


async def test_a_job_that_is_gone_wakes_its_waiters(store: Store, open_hub: Callable[..., Hub]) -> None:
    hub = open_hub(poll_s=0.05, poll_without_redis_s=0.05)
    await listening(hub)
    with hub.watch(await store.tenant(), ids.new_id()) as watch:
        watch.version = 3
        assert await watch.changed(10)


async def test_stored_events_wake_a_stream(store: Store, open_hub: Callable[..., Hub]) -> None:
    hub = open_hub(poll_s=0.05, poll_without_redis_s=0.05)
    await listening(hub)
    tenant = await store.tenant()
    job = await store.add(tenant, stream=True)
    worker = await store.process()
    [row] = await worker.claim()
    with hub.watch(tenant, job, streaming=True) as watch:
        watch.tail = 2
        assert not await watch.changed(0.2)
        await store_deltas(store.worker, [DeltaChunk(job, row.lease_no, 3, 4, '["a","b"]')])
        assert await watch.changed(10)


async def test_live_deltas_come_in_order_and_only_to_streams_of_their_job(
    store: Store, open_hub: Callable[..., Hub], announcer: Announcer, redis: EmbeddedRedis
) -> None:
    hub = open_hub()
    await listening(hub)
    tenant, job = ids.new_id(), ids.new_id()
    async with Redis.from_url(redis.url) as client:

        async def subscribed() -> bool:
            return bool((await client.pubsub_numsub(delta_channel(job)))[0][1])

        with hub.watch(tenant, job, streaming=True) as stream, hub.watch(tenant, job) as plain:
            await eventually(subscribed)
            announcer.deltas(job, 3, [{"delta": "a"}, {"delta": "b"}])
            announcer.deltas(job, 5, [{"delta": "c"}])
            while len(stream.deltas) < 3:
                assert await stream.changed(10)
            assert [(delta.seq, delta.data["delta"]) for delta in stream.deltas] == [(3, "a"), (4, "b"), (5, "c")]
            assert not plain.deltas

        async def unsubscribed() -> bool:
            return not await subscribed()

        await eventually(unsubscribed)


@pytest.mark.parametrize(
    "nonsense", [b"", b"{", b"[]", b'{"seq": "x"}', b'{"seq": 1, "deltas": 7}', b"\xff\xfe", b"\x00" * 100]
)
async def test_nonsense_in_redis_stops_nobody(
    store: Store, open_hub: Callable[..., Hub], announcer: Announcer, redis: EmbeddedRedis, nonsense: bytes
) -> None:
    hub = open_hub()
    await listening(hub)
    job = ids.new_id()
    with hub.watch(ids.new_id(), job, streaming=True) as watch:
        async with Redis.from_url(redis.url) as client:
            for channel in (b"coatcheck:moved", b"coatcheck:keys", delta_channel(job), b"coatcheck:delta:not-an-id"):
                await client.publish(channel, nonsense)
        announcer.moved([job])
        while not watch.stirred:
            assert await watch.changed(10)
    assert hub.redis_up


async def test_revoked_keys_are_told(store: Store, open_hub: Callable[..., Hub], redis: EmbeddedRedis) -> None:
    hub = open_hub()
    forgotten: list[bytes] = []
    hub.on_revoked_key(forgotten.append)
    await listening(hub)
    async with Redis.from_url(redis.url) as client:
        await client.publish(KEYS, b"a" * 32 + b"b" * 32 + b"half")

    async def both() -> bool:
        return len(forgotten) == 2

    await eventually(both)
    assert forgotten == [b"a" * 32, b"b" * 32]


async def test_streams_that_begin_while_the_hub_connects_are_live_too(
    store: Store, open_hub: Callable[..., Hub], redis: EmbeddedRedis
) -> None:
    hub, tenant = open_hub(), ids.new_id()
    jobs = [ids.new_id() for _ in range(100)]
    with ExitStack() as readers:
        for job in jobs:
            readers.enter_context(hub.watch(tenant, job, streaming=True))
            await asyncio.sleep(0)
            if not hub.redis_up:
                await asyncio.sleep(0.0001)  # connecting takes a system call or two
        await listening(hub)
        async with Redis.from_url(redis.url) as client:

            async def all_subscribed() -> bool:
                return all(count for _, count in await client.pubsub_numsub(*map(delta_channel, jobs)))

            await eventually(all_subscribed, 5)


async def test_a_listener_that_breaks_over_a_message_hears_the_next(
    store: Store, open_hub: Callable[..., Hub], announcer: Announcer, redis: EmbeddedRedis
) -> None:
    hub = open_hub()

    def forget(_: bytes) -> None:
        raise KeyError("a defect")

    hub.on_revoked_key(forget)
    await listening(hub)
    async with Redis.from_url(redis.url) as client:
        await client.publish(KEYS, b"a" * 32)
    job = ids.new_id()
    with hub.watch(ids.new_id(), job) as watch:

        async def woken() -> bool:
            announcer.moved([job])
            return await watch.changed(0.1)

        async def broke() -> bool:
            return not hub.redis_up

        await eventually(broke)
        await eventually(woken)


@pytest.mark.parametrize("mode", ["reset", "stall-existing"])
async def test_a_broken_or_silent_connection_is_replaced(
    store: Store, open_hub: Callable[..., Hub], announcer: Announcer, redis: EmbeddedRedis, mode: str
) -> None:
    with Proxy(str(redis.socket)) as proxy:
        hub = open_hub(f"redis://127.0.0.1:{proxy.port}/0", silence_s=0.3)
        await listening(hub)
        job = ids.new_id()
        before = proxy.accepted
        proxy.set(mode)  # type: ignore[arg-type]

        async def replaced() -> bool:
            if mode == "reset" and not hub.redis_up:
                proxy.set("pass")
            return hub.redis_up and proxy.accepted > before

        await eventually(replaced)
        with hub.watch(ids.new_id(), job) as watch:

            async def woken() -> bool:
                announcer.moved([job])
                return await watch.changed(0.2)

            await eventually(woken)


async def test_readers_that_come_and_go_while_the_connection_breaks_off_disturb_nobody(
    store: Store, open_hub: Callable[..., Hub], redis: EmbeddedRedis, announcer: Announcer
) -> None:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    with Proxy(str(redis.socket)) as proxy:
        hub = open_hub(f"redis://127.0.0.1:{proxy.port}/0")
        tenant = ids.new_id()
        for _ in range(10):
            await listening(hub)
            proxy.set("reset")
            proxy.set("pass")
            for _ in range(40):
                with hub.watch(tenant, ids.new_id(), streaming=True):
                    await asyncio.sleep(0)
                await asyncio.sleep(0.001)
        await listening(hub)
        job = ids.new_id()
        with hub.watch(tenant, job, streaming=True) as watch:

            async def heard() -> bool:
                announcer.deltas(job, 3, [{"delta": "a"}])
                await asyncio.sleep(0.02)
                return bool(watch.deltas)

            await eventually(heard)
    gc.collect()
    assert broken == []


async def test_a_quiet_connection_is_kept(
    store: Store, open_hub: Callable[..., Hub], announcer: Announcer, redis: EmbeddedRedis
) -> None:
    with Proxy(str(redis.socket)) as proxy:
        hub = open_hub(f"redis://127.0.0.1:{proxy.port}/0", silence_s=0.05)
        await listening(hub)
        before = proxy.accepted
        with hub.watch(ids.new_id(), ids.new_id()) as watch:
            assert not await watch.changed(1)
        assert hub.redis_up
        assert proxy.accepted == before


@pytest.mark.parametrize("turns", range(12))
async def test_a_hub_can_be_stopped_at_any_moment_of_its_start(store: Store, redis: EmbeddedRedis, turns: int) -> None:
    """The Redis client swallows a cancellation that comes while it connects."""
    client = open_redis(redis.url, 0.5)
    hub = Hub(store.api, client, poll_s=NEVER_S, poll_without_redis_s=NEVER_S)
    hub.start()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await hub.stop()
    await client.aclose()


async def test_at_shutdown_everybody_is_sent_home(store: Store, open_hub: Callable[..., Hub]) -> None:
    hub = open_hub()
    with hub.watch(ids.new_id(), ids.new_id()) as watch:
        waiting = asyncio.create_task(watch.changed(60))
        await asyncio.sleep(0)
        hub.stop_waiting()
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await watch.changed(60)
