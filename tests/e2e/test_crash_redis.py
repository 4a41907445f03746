"""Redis that forgets, dies, stalls, talks nonsense or was never there: what goes wrong between Celery and it reaches no job."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from redis import Redis

from cli.stack.redis import EmbeddedRedis
from core.dispatch import CLAIM_TASK, Doorbell, publisher
from core.lifecycle import Status
from core.settings import Settings
from tests.support.processes import Stage
from tests.support.proxy import Proxy
from tests.support.servers import Databases, socket_of, through
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually

BODY = chat_body("sim/fast", sim={"ttft_ms": 30})


@pytest.fixture
def broker(own_redis: EmbeddedRedis) -> Iterator["Redis"]:
    """The broker's database, to look into and to spoil."""
    with Redis.from_url(own_redis.url_for(1)) as client:
        yield client


@pytest.fixture
def ring(stage_settings: Settings, own_redis: EmbeddedRedis) -> Iterator[Doorbell]:
    """Rings like the API does."""
    doorbell = Doorbell(publisher(stage_settings))
    doorbell.start()
    yield doorbell
    doorbell.stop()


async def reach(store: Store, job: UUID, status: Status = Status.SUCCEEDED) -> None:
    async def there() -> bool:
        return await store.status(job) is status

    await eventually(there)


async def all_done(store: Store, jobs: int) -> None:
    async def look() -> bool:
        return await store.statuses() == {"succeeded": jobs}

    await eventually(look, 45)


async def consumed(broker: "Redis", doorbell: Doorbell, lane: str = "default") -> None:
    """Wait until somebody takes a doorbell from the broker again."""

    async def look() -> bool:
        doorbell.ring(lane)
        await asyncio.sleep(0.05)
        return doorbell.up and broker.llen(lane) == 0

    await eventually(look, 60)


async def test_without_redis_everything_still_gets_done(
    store: Store, stage: Stage, stage_settings: Settings, simulator: RunningSimulator, tmp_path: Path
) -> None:
    nowhere = tmp_path / "no.sock"
    alone = stage_settings.model_copy(
        update={"redis_url": f"unix://{nowhere}?db=0", "broker_url": f"redis+socket://{nowhere}?virtual_host=1"}
    )
    worker = await stage.worker(alone)
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant, body=BODY) for _ in range(100)))
    await store.accept(*(new_job(tenant, stream=True, body=chat_body("sim/fast", stream=True)) for _ in range(20)))
    stuck = await store.add(tenant, body=chat_body("sim/fast", sim={"hang": True}))
    await asyncio.to_thread(simulator.wait_for, min_requests=121)
    await store.cancel(tenant, stuck)
    await asyncio.to_thread(simulator.wait_for, min_cancelled=1, max_in_flight=0)

    async def done() -> bool:
        return await store.statuses() == {"succeeded": 120, "cancelled": 1}

    await eventually(done)
    assert simulator.stats()["requests"] == 121
    assert worker.stop() == 0


async def test_redis_emptied_under_load_loses_nothing(
    store: Store, stage: Stage, simulator: RunningSimulator, ring: Doorbell, broker: "Redis"
) -> None:
    """FLUSHALL takes Celery's bindings along; direct queues don't need them."""
    await stage.worker(max_in_flight="16")
    tenant = await store.tenant()
    for _ in range(10):
        await store.accept(*(new_job(tenant, body=BODY) for _ in range(20)))
        ring.ring("default")
        broker.flushall()
    await all_done(store, 200)
    assert simulator.stats()["requests"] == 200
    broker.flushall()
    await consumed(broker, ring)


async def test_redis_killed_and_restarted_under_load_loses_nothing(
    store: Store, stage: Stage, simulator: RunningSimulator, ring: Doorbell, broker: "Redis", own_redis: EmbeddedRedis
) -> None:
    worker = await stage.worker(say="ready.", max_in_flight="16")
    tenant = await store.tenant()
    for _ in range(3):
        await store.accept(*(new_job(tenant, body=BODY) for _ in range(50)))
        ring.ring("default")
        own_redis.kill()
        await store.accept(*(new_job(tenant, body=BODY) for _ in range(20)))
        ring.ring("default")
        own_redis.start()
    await all_done(store, 210)
    assert simulator.stats()["requests"] == 210
    await consumed(broker, ring)
    assert worker.alive


async def test_a_doorbell_lost_between_redis_and_a_dying_worker_loses_no_job(
    store: Store, stage: Stage, ring: Doorbell, broker: "Redis"
) -> None:
    """Redis hands a message out before the worker has noted it as unacknowledged; whoever is killed then takes it along."""
    worker = await stage.worker(say="ready.")
    await consumed(broker, ring)
    worker.send(signal.SIGSTOP)
    job = await store.add(await store.tenant())
    ring.ring("default")

    async def handed_out() -> bool:
        return broker.llen("default") == 0

    await eventually(handed_out)
    worker.kill()
    assert broker.hlen("unacked") == 0
    await stage.worker()
    await reach(store, job)


async def test_nonsense_in_the_broker_ends_a_worker_and_no_job(
    store: Store, stage: Stage, simulator: RunningSimulator, ring: Doorbell, broker: "Redis"
) -> None:
    worker = await stage.worker(say="ready.", grace_s="1")
    await consumed(broker, ring)
    job = await store.add(await store.tenant(), body=chat_body("sim/fast", sim={"hang": True}))
    await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
    broker.lpush("default", b"\x80\x04 no JSON at all {")
    # Its supervisor starts a new one.
    await worker.ended()
    await stage.worker(say="ready.")
    await asyncio.to_thread(simulator.wait_for, min_requests=2, min_in_flight=1)
    simulator.control(release=True)
    await reach(store, job)
    await consumed(broker, ring)


async def test_strange_messages_are_passed_over(store: Store, stage: Stage, ring: Doorbell, broker: "Redis") -> None:
    """A task nobody knows, arguments that make no sense, a lane that doesn't exist."""
    worker = await stage.worker(say="ready.")
    app = publisher(stage.settings)

    def send() -> None:
        for name, arguments in (
            ("no.such.task", ()),
            (CLAIM_TASK, ()),
            (CLAIM_TASK, ("nowhere",)),
            (CLAIM_TASK, ({},)),
        ):
            app.send_task(name, args=arguments, queue="default", retry=False, ignore_result=True)

    await asyncio.to_thread(send)
    await consumed(broker, ring)
    await reach(store, await store.add(await store.tenant()))
    assert worker.alive


async def test_a_half_open_broker_connection_delays_no_job_and_is_replaced(
    store: Store, stage: Stage, stage_settings: Settings, ring: Doorbell, broker: "Redis", own_redis: EmbeddedRedis
) -> None:
    """The worker's connections of this moment go silent and nobody tells it; the publisher's don't."""
    with Proxy(str(own_redis.socket)) as proxy:
        behind = stage_settings.model_copy(
            update={
                "broker_url": f"redis://127.0.0.1:{proxy.port}/1",
                "redis_url": f"redis://127.0.0.1:{proxy.port}/0",
            }
        )
        await stage.worker(behind, say="ready.")
        await consumed(broker, ring)
        proxy.set("stall-existing")
        tenant = await store.tenant()
        jobs = []
        for _ in range(5):
            jobs.append(await store.add(tenant))
            ring.ring("default")
        for job in jobs:
            await reach(store, job)
        await consumed(broker, ring)


async def test_a_broker_that_breaks_off_before_a_doorbell_is_acknowledged_ends_no_worker(
    store: Store, stage: Stage, stage_settings: Settings, ring: Doorbell, broker: "Redis", own_redis: EmbeddedRedis
) -> None:
    with Proxy(str(own_redis.socket)) as proxy:
        behind = stage_settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{proxy.port}/1"})
        worker = await stage.worker(behind, say="ready.")
        await consumed(broker, ring)
        catch = proxy.catch(b"ZREM", forward=False)
        ring.ring("default")
        await asyncio.to_thread(catch.wait)
        proxy.release(catch, "cut")
        await worker.says("Couldn't ack")

        async def waits_for_more() -> bool:
            return bool(broker.info("clients")["blocked_clients"])

        await eventually(waits_for_more)
        proxy.set("reset")
        await worker.says("Cannot connect to")
        proxy.set("pass")
        await consumed(broker, ring)
        assert worker.alive
        await reach(store, await store.add(await store.tenant()))


async def test_a_running_job_leaves_nothing_in_the_broker_that_could_be_delivered_again(
    store: Store, stage: Stage, simulator: RunningSimulator, ring: Doorbell, broker: "Redis"
) -> None:
    """However long a job runs, no visibility timeout can double it: its doorbell was acknowledged long ago."""
    await stage.worker(say="ready.")
    await consumed(broker, ring)
    job = await store.add(await store.tenant(), body=chat_body("sim/fast", sim={"hang": True}))
    ring.ring("default")
    await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
    await consumed(broker, ring)

    async def acknowledged() -> bool:
        return broker.hlen("unacked") == 0 and broker.zcard("unacked_index") == 0

    await eventually(acknowledged)
    assert await store.status(job) is Status.RUNNING
    simulator.control(release=True)
    await reach(store, job)
    assert simulator.stats()["requests"] == 1


async def test_rings_that_outlive_their_connection_do_not_end_the_worker(
    store: Store, stage: Stage, stage_settings: Settings, ring: Doorbell, broker: "Redis", own_redis: EmbeddedRedis,
    databases: Databases,
) -> None:  # fmt: skip
    """They wait behind claims that hang on Postgres, and have nobody to acknowledge them to when their turn comes."""
    with Proxy(str(own_redis.socket)) as redis_link, Proxy(socket_of(databases.server)) as database_link:
        behind = stage_settings.model_copy(
            update={
                "database_url": through(database_link, stage_settings.database_url),
                "broker_url": f"redis://127.0.0.1:{redis_link.port}/1",
            }
        )
        worker = await stage.worker(behind, say="ready.")
        await consumed(broker, ring)
        database_link.set("stall")

        async def full() -> bool:
            ring.ring("default")
            await asyncio.sleep(0.05)
            return broker.llen("default") > 0

        await eventually(full)
        redis_link.set("reset")
        redis_link.set("pass")

        async def connected_again() -> bool:
            return worker.log.read_text(errors="replace").count("Connected to") > 1

        await eventually(connected_again)
        database_link.set("reset")
        database_link.set("pass")
        await consumed(broker, ring)
        await reach(store, await store.add(await store.tenant()))
        assert worker.alive
        assert not worker.said("Unrecoverable error")
