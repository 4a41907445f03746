"""The engine of a worker, from the claim to the stored outcome."""

import asyncio
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core import ids
from core.announce import CANCELLED, DELTA, MOVED, WORK, Announcer, open_redis, split_ids
from core.lifecycle import Status
from core.settings import Settings
from core.store.reading import read_attempts
from core.store.work import Room, claim
from tests.integration.engine.conftest import StartEngine
from tests.support.proxy import Mode, Proxy
from tests.support.servers import Databases, socket_of, through
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually


async def reach(store: Store, job: UUID, status: Status = Status.SUCCEEDED) -> None:
    async def there() -> bool:
        return await store.status(job) is status

    await eventually(there)


async def wait_for(simulator: RunningSimulator, **conditions: int) -> None:
    await asyncio.to_thread(simulator.wait_for, **conditions)


def hanging(tenant: UUID, **fields: object) -> object:
    """A job whose upstream answers when the simulator is told to release it."""
    return new_job(tenant, body=chat_body("sim/fast", sim={"hang": True}), **fields)  # type: ignore[arg-type]


async def add_hanging(store: Store, tenant: UUID, **fields: object) -> UUID:
    return (await store.accept(hanging(tenant, **fields)))[0]  # type: ignore[arg-type]


async def test_a_job_runs_and_its_result_is_stored(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    tenant = await store.tenant()
    job = await store.add(tenant)
    await reach(store, job)
    row = await store.job(job)
    assert orjson.loads(row.result)["object"] == "chat.completion"
    assert orjson.loads(row.usage)["total_tokens"] > 0
    assert orjson.loads(row.route)["deployment"] == "sim/fast"
    timing = orjson.loads(row.timing)
    assert timing["batch_size"] == 1
    assert timing["total_ms"] >= timing["upstream_ms"] > 0
    assert await store.outcomes(job) == ["succeeded"]
    [attempt] = await read_attempts(store.api, tenant, job)
    assert (attempt["number"], attempt["deployment"], attempt["batch_size"]) == (1, "sim/fast", 1)


async def test_a_doorbell_claims_at_once_and_tells_what(store: Store, start_engine: StartEngine) -> None:
    engine = await start_engine(sweep_s=3600)
    tenant = await store.tenant()
    first = await store.add(tenant)
    await asyncio.to_thread(engine.claim, "default")
    await reach(store, first)  # what a new engine does by itself is over
    jobs = await store.accept(*(new_job(tenant) for _ in range(3)))
    report = await asyncio.to_thread(engine.claim, "default")
    assert report["size"] == 3
    assert report["jobs"] == [ids.encode(ids.JOB, job) for job in jobs]
    assert (await asyncio.to_thread(engine.claim, "default"))["size"] == 0
    for job in jobs:
        await reach(store, job)
        assert orjson.loads((await store.job(job)).timing)["batch_size"] == 3


async def test_a_hint_wakes_an_idle_worker_and_the_next_doorbell_tells_of_it(
    store: Store, start_engine: StartEngine, engine_settings: Settings
) -> None:
    engine = await start_engine(sweep_s=3600)
    tenant = await store.tenant()
    await asyncio.to_thread(engine.claim, "default")
    async with open_redis(engine_settings.redis_url, 2.0) as redis:
        heard = dict(await redis.pubsub_numsub(WORK))
        assert heard[WORK] == 1
        announcer = Announcer(redis)
        announcer.start()
        job = await store.add(tenant)
        announcer.work("default")
        await reach(store, job)
        announcer.work("no such lane")
        await announcer.stop()
    report = await asyncio.to_thread(engine.claim, "default")
    assert (report["size"], report["jobs"]) == (1, [ids.encode(ids.JOB, job)])


async def test_what_nobody_rang_for_is_found_by_the_sweep(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    tenant = await store.tenant()
    for lane in ("interactive", "default", "bulk"):
        await reach(store, await store.add(tenant, lane=lane))


async def test_two_engines_run_every_job_once(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    tenants = [await store.tenant() for _ in range(3)]
    await store.accept(*(new_job(tenants[n % 3], priority=n % 10) for n in range(300)))
    engines = [await start_engine(claim_limit=8), await start_engine(claim_limit=8)]

    async def all_done() -> bool:
        await asyncio.gather(*(asyncio.to_thread(engine.claim, "default") for engine in engines))
        return await store.statuses() == {"succeeded": 300}

    await eventually(all_done)
    assert simulator.stats()["requests"] == 300
    assert await store.value("SELECT count(*) FROM attempts") == 300
    assert await store.value("SELECT count(DISTINCT process_id) FROM attempts") == 2


async def test_a_stream_is_shown_live_and_stored_with_the_same_numbers(
    store: Store, start_engine: StartEngine, redis: EmbeddedRedis
) -> None:
    await start_engine()
    tenant = await store.tenant()
    job = new_job(tenant, stream=True, body=chat_body("sim/fast", stream=True, sim={"tokens": 40}))
    async with Redis.from_url(redis.url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(DELTA + job.id.hex.encode(), MOVED)
        await store.accept(job)
        await reach(store, job.id)
        live: dict[int, str] = {}
        moved = 0
        async with asyncio.timeout(20):
            while moved < 2:
                message = await heard.get_message(timeout=1)
                if message is None:
                    continue
                if message["channel"] == MOVED:
                    moved += job.id in split_ids(message["data"])
                else:
                    data = orjson.loads(message["data"])
                    live |= {data["seq"] + n: entry["delta"] for n, entry in enumerate(data["deltas"])}
    rows = await store.rows(
        "SELECT seq, last_seq, type, data FROM job_events WHERE job_id = :id ORDER BY seq", id=job.id
    )
    stored = {
        row.seq + n: entry["delta"]
        for row in rows
        if row.type == "job.delta"
        for n, entry in enumerate(orjson.loads(row.data))
    }
    assert stored == live
    assert list(stored) == list(range(3, 3 + len(stored)))
    assert rows[-1].type == "job.succeeded"
    assert rows[-1].seq == max(stored) + 1
    content = orjson.loads((await store.job(job.id)).result)["choices"][0]["message"]["content"]
    assert "".join(stored.values()) == content


async def test_a_failed_attempt_is_retried_with_its_reason(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    body = chat_body("sim/fast", sim={"error": {"status": 429, "times": 2, "retry_after_ms": 10}})
    job = await store.add(await store.tenant(), body=body)
    await reach(store, job)
    assert await store.outcomes(job) == ["retried", "retried", "succeeded"]
    rows = await store.rows("SELECT data FROM job_events WHERE job_id = :id AND type = 'job.retrying'", id=job)
    assert [orjson.loads(row.data)["reason"] for row in rows] == ["rate_limited"] * 2
    assert (await store.job(job)).attempts == 3


async def test_what_cannot_get_better_fails_at_once(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    job = await store.add(await store.tenant(), body=chat_body("sim/fast", sim={"error": {"status": 400}}))
    await reach(store, job, Status.FAILED)
    error = orjson.loads((await store.job(job)).error)
    assert (error["code"], error["retryable"], error["upstream_status"]) == ("invalid_request", False, 400)
    assert await store.outcomes(job) == ["failed"]


async def test_attempts_are_used_up(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    body = chat_body("sim/fast", sim={"error": {"status": 500, "retry_after_ms": 5}})
    job = await store.add(await store.tenant(), max_attempts=2, body=body)
    await reach(store, job, Status.FAILED)
    error = orjson.loads((await store.job(job)).error)
    assert error["code"] == "attempts_exhausted"
    assert "upstream_error" in error["message"]
    assert await store.outcomes(job) == ["retried", "failed"]


async def test_an_attempt_ends_at_its_time_limit(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine()
    job = await add_hanging(store, await store.tenant(), timeout_s=0.2, max_attempts=1)
    await reach(store, job, Status.FAILED)
    assert "timeout" in orjson.loads((await store.job(job)).error)["message"]
    await wait_for(simulator, min_cancelled=1)


async def test_a_job_of_an_unknown_model_fails_with_that_reason(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    job = await store.add(await store.tenant(), model="gone/model", max_attempts=1)
    await reach(store, job, Status.FAILED)
    assert "unknown_model" in (await store.job(job)).error


async def test_a_waiting_job_starts_when_its_time_has_come(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    job = await store.add(await store.tenant())
    await reach(store, job)
    body = chat_body("sim/fast", sim={"error": {"status": 503, "times": 1, "retry_after_ms": 400}})
    await reach(store, await store.add((await store.job(job)).tenant_id, body=body))


async def test_a_job_that_comes_too_late_expires(store: Store, start_engine: StartEngine) -> None:
    job = await store.add(await store.tenant())
    await store.make_late(job)
    await start_engine()
    await reach(store, job, Status.EXPIRED)


class TestCancel:
    async def test_the_upstream_request_ends_at_once(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator, redis: EmbeddedRedis
    ) -> None:
        await start_engine(heartbeat_s=3600, lease_s=36000)
        tenant = await store.tenant()
        job = await add_hanging(store, tenant)
        await wait_for(simulator, min_in_flight=1)
        cancelled = await store.cancel(tenant, job)
        async with Redis.from_url(redis.url) as client:

            async def heard() -> bool:
                return bool(await client.publish(CANCELLED, b"".join(one.bytes for one in cancelled.running)))

            await eventually(heard)
        await wait_for(simulator, min_cancelled=1)
        assert await store.status(job) is Status.CANCELLED
        assert await store.outcomes(job) == ["cancelled"]

    async def test_without_redis_the_heartbeat_brings_the_news(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator, engine_settings: Settings,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        nowhere = tmp_path / "no.sock"
        away = {"redis_url": f"unix://{nowhere}?db=0", "broker_url": f"redis+socket://{nowhere}"}
        await start_engine(settings=engine_settings.model_copy(update=away))
        tenant = await store.tenant()
        job = await add_hanging(store, tenant)
        await wait_for(simulator, min_in_flight=1)
        await store.cancel(tenant, job)
        await wait_for(simulator, min_cancelled=1)
        assert await store.outcomes(job) == ["cancelled"]

    async def test_the_slot_of_a_cancelled_job_is_free_again(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator
    ) -> None:
        await start_engine(max_in_flight=1, lanes=("default",))
        tenant = await store.tenant()
        job = await add_hanging(store, tenant)
        await wait_for(simulator, min_in_flight=1)
        await store.cancel(tenant, job)
        await reach(store, await store.add(tenant))


class TestStop:
    async def test_what_can_finish_in_time_finishes(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator
    ) -> None:
        engine = await start_engine()
        tenant = await store.tenant()
        job = await add_hanging(store, tenant)
        await wait_for(simulator, min_in_flight=1)
        stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
        late = await store.add(tenant)
        simulator.control(release=True)
        await stopping
        assert await store.status(job) is Status.SUCCEEDED
        assert await store.status(late) is Status.QUEUED
        assert await store.value("SELECT count(*) FROM processes") == 0

    async def test_the_rest_is_handed_back_without_counting(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator
    ) -> None:
        engine = await start_engine(grace_s=0)
        job = await add_hanging(store, await store.tenant())
        await wait_for(simulator, min_in_flight=1)
        await asyncio.to_thread(engine.stop)
        row = await store.job(job)
        assert (row.status, row.attempts, row.lease_no) == (Status.QUEUED, 0, 1)
        assert await store.outcomes(job) == ["handed_back"]
        await wait_for(simulator, min_cancelled=1)
        simulator.control(model="sim/fast", hang=False)
        assert (await asyncio.to_thread(engine.claim, "default"))["note"] == "stopping"


class TestLeases:
    async def test_a_job_that_was_taken_away_is_aborted_and_not_stored(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator
    ) -> None:
        engine = await start_engine(lanes=("default",))
        job = await add_hanging(store, await store.tenant())
        await wait_for(simulator, min_in_flight=1)
        thief = await store.process()
        await store.sql("UPDATE jobs SET lease_no = lease_no + 1, attempts = attempts + 1 WHERE id = :id", id=job)
        await store.sql("UPDATE running SET process_id = :thief, lease_no = lease_no + 1", thief=thief.id)
        await wait_for(simulator, min_cancelled=1)
        assert await store.status(job) is Status.RUNNING
        assert await store.value("SELECT process_id FROM running") == thief.id
        assert engine.presence.id != thief.id

    async def test_a_claim_whose_answer_was_lost_goes_back_to_the_queue(
        self, store: Store, start_engine: StartEngine
    ) -> None:
        engine = await start_engine()
        await store.sql("ALTER TABLE ready DISABLE ROW LEVEL SECURITY")
        job = new_job(await store.tenant(), lane="prewarm")
        await store.accept(job)
        await claim(store.worker, "prewarm", engine.presence.id, Room(1, 10**6, {"sim/fast": 1}))

        async def sent_back() -> bool:
            return await store.outcomes(job.id) == ["lost"]

        await eventually(sent_back)
        assert await store.places(job.id) == ["ready"]

    async def test_an_orphan_of_a_dead_process_runs_again(self, store: Store, start_engine: StartEngine) -> None:
        job = await store.add(await store.tenant())
        dead = await store.process()
        await dead.claim()
        await dead.die()
        await start_engine()
        await reach(store, job)
        assert await store.outcomes(job) == ["lost", "succeeded"]


class TestWithoutPostgres:
    @pytest.fixture
    def cut(self, databases: Databases, database_url: str, engine_settings: Settings) -> object:
        with Proxy(socket_of(databases.server)) as proxy:
            url = through(proxy, database_url)
            quick = {"database_url": url, "database_connect_timeout_s": 1.0, "statement_timeout_s": 2.0}
            yield proxy, engine_settings.model_copy(update=quick)

    async def test_a_result_is_kept_until_the_database_takes_it(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator, cut: tuple[Proxy, Settings]
    ) -> None:
        proxy, settings = cut
        await start_engine(settings=settings, lease_s=60)
        job = await add_hanging(store, await store.tenant())
        await wait_for(simulator, min_in_flight=1)
        proxy.set("reset")
        simulator.control(release=True)
        await wait_for(simulator, max_in_flight=0)
        assert await store.status(job) is Status.RUNNING
        proxy.set("pass")
        await reach(store, job)
        assert await store.outcomes(job) == ["succeeded"]
        await reach(store, await store.add((await store.job(job)).tenant_id))

    async def test_a_process_that_cannot_renew_stops_its_jobs(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator, cut: tuple[Proxy, Settings]
    ) -> None:
        proxy, settings = cut
        await start_engine(settings=settings, lease_s=1)
        job = await add_hanging(store, await store.tenant())
        await wait_for(simulator, min_in_flight=1)
        proxy.set("reset")
        await wait_for(simulator, min_cancelled=1)
        simulator.control(model="sim/fast", hang=False)
        await store.sql("UPDATE jobs SET body = CAST(:body AS json)", body=chat_body("sim/fast"))
        proxy.set("pass")
        await reach(store, job)
        assert await store.outcomes(job) == ["lost", "succeeded"]

    async def test_a_stalled_database_is_noticed(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator, cut: tuple[Proxy, Settings]
    ) -> None:
        proxy, settings = cut
        await start_engine(settings=settings, lease_s=1)
        await add_hanging(store, await store.tenant())
        await wait_for(simulator, min_in_flight=1)
        proxy.set("stall")
        await wait_for(simulator, min_cancelled=1)
        proxy.set("pass")

    @pytest.mark.parametrize("mode", ["reset", "stall"])
    async def test_an_engine_can_be_started_before_its_database(
        self, store: Store, start_engine: StartEngine, cut: tuple[Proxy, Settings], mode: Mode
    ) -> None:
        proxy, settings = cut
        proxy.set(mode)
        await start_engine(settings=settings)
        job = await store.add(await store.tenant())
        proxy.set("pass")
        await reach(store, job)

    async def test_an_engine_can_be_stopped_without_its_database(
        self, store: Store, start_engine: StartEngine, simulator: RunningSimulator, cut: tuple[Proxy, Settings]
    ) -> None:
        """Its job is left to the lease: whoever finds that run out takes it."""
        proxy, settings = cut
        engine = await start_engine(settings=settings, grace_s=0)
        job = await add_hanging(store, await store.tenant())
        await wait_for(simulator, min_in_flight=1)
        proxy.set("reset")
        await asyncio.to_thread(engine.stop)
        await wait_for(simulator, max_in_flight=0)
        assert await store.status(job) is Status.RUNNING
