"""The worker's part: a last look before a call, and keeping what came of it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from redis.asyncio import Redis

from core.announce import Announcer
from core.cache import Cache, plan_job
from core.settings import CacheSettings
from core.store.work import Finish, commit_outcomes
from tests.support.store import CHAT, PUBLIC_URL, Process, Store, chat_body, new_job
from workers.engine.caching import Caching
from workers.engine.deltas import DeltaStream
from workers.engine.job import Job

ANSWER = (
    '{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"On the third hook."}}]}'
)
CUT = ANSWER.replace("stop", "content_filter")
USAGE = '{"input_tokens":5,"output_tokens":4,"total_tokens":9}'


@pytest.fixture
async def cache(client: "Redis") -> AsyncIterator[Cache]:
    cache = Cache(client, CacheSettings(wait_s=2.0))
    yield cache
    await cache.close()


async def claimed(
    store: Store, process: Process, tenant: UUID, options: dict[str, Any] | None = None, **more: Any
) -> Job:
    """A job, accepted as the API does it and claimed."""
    body = chat_body("sim/fast", temperature=0, stream=more.get("stream", False))
    job = new_job(tenant, body=body, metadata='{"category":"tents"}', **more)
    plan_job(job, orjson.loads(body), options)
    await store.accept(job)
    [row] = await process.claim()
    return Job.of(row, 1)


def stream_of(job: Job, client: "Redis") -> DeltaStream:
    return DeltaStream(job, Announcer(client), lambda _: None)


def success(job: Job, result: str = ANSWER) -> Finish:
    return Finish(
        job.id, job.lease_no, "succeeded", job.event_seq, result=result, usage=USAGE, timing='{"upstream_ms":120.0}',
        route='{"deployment":"sim-fast"}',
    )  # fmt: skip


async def finish(store: Store, process: Process, move: Finish, stream: DeltaStream | None = None) -> None:
    chunks = stream.take_chunks() if stream is not None else []
    await commit_outcomes(store.worker, process.id, [move], [], chunks, PUBLIC_URL)


async def answered_once(store: Store, process: Process, cache: Cache, tenant: UUID, **more: Any) -> Finish:
    job = await claimed(store, process, tenant, **more)
    move = await Caching(cache).after(job, success(job))
    assert isinstance(move, Finish)
    await finish(store, process, move)
    return move


async def test_an_answer_is_kept_for_the_next_who_asks(store: Store, cache: Cache, client: "Redis") -> None:
    tenant, process = await store.tenant(), await store.process()
    first = await answered_once(store, process, cache, tenant)
    assert orjson.loads(first.cache or "")["status"] == "miss"

    job = await claimed(store, process, tenant)
    stream = stream_of(job, client)
    hit = await Caching(cache).before(job, stream)

    assert hit is not None
    await finish(store, process, hit, stream)
    row = await store.job(job.id)
    told = orjson.loads(row.cache)
    assert (row.status, row.result, row.cost_usd) == ("succeeded", ANSWER, 0)
    assert (told["status"], told["saved"]) == ("hit", {"tokens": 9, "usd": None, "ms": 120.0})
    assert orjson.loads(row.route)["deployment"] == "sim-fast"
    [hour] = await store.rows("SELECT sum(hits) AS hits, sum(misses) AS misses FROM cache_hours")
    assert (hour.hits, hour.misses) == (1, 1)
    [used] = await store.rows("SELECT sum(output_tokens) AS o, sum(saved_tokens) AS s FROM usage_days")
    assert (used.o, used.s) == (4, 9)


async def test_a_hit_of_a_streaming_job_is_told_as_a_stream(store: Store, cache: Cache, client: "Redis") -> None:
    tenant, process = await store.tenant(), await store.process()
    await answered_once(store, process, cache, tenant)
    job = await claimed(store, process, tenant, stream=True)
    stream = stream_of(job, client)

    hit = await Caching(cache).before(job, stream)

    assert hit is not None
    await finish(store, process, hit, stream)
    rows = await store.rows(
        "SELECT seq, last_seq, type, data FROM job_events WHERE job_id = :id ORDER BY seq", id=job.id
    )
    assert [row.type for row in rows] == ["job.started", "job.delta", "job.succeeded"]
    assert "".join(delta["delta"] for delta in orjson.loads(rows[1].data)) == "On the third hook."
    assert rows[2].seq == rows[1].last_seq + 1


async def test_refresh_asks_anew_and_replaces_what_was_kept(store: Store, cache: Cache, client: "Redis") -> None:
    tenant, process = await store.tenant(), await store.process()
    await answered_once(store, process, cache, tenant)
    job = await claimed(store, process, tenant, {"mode": "refresh"})
    newer = ANSWER.replace("third", "fourth")

    assert await Caching(cache).before(job, stream_of(job, client)) is None
    move = await Caching(cache).after(job, success(job, newer))

    assert isinstance(move, Finish)
    assert orjson.loads(move.cache or "")["status"] == "refreshed"
    await finish(store, process, move)
    job = await claimed(store, process, tenant)
    hit = await Caching(cache).before(job, stream_of(job, client))
    assert hit is not None
    assert hit.result == newer


async def test_off_passes_the_cache_by(store: Store, cache: Cache, client: "Redis") -> None:
    tenant, process = await store.tenant(), await store.process()
    await answered_once(store, process, cache, tenant)
    job = await claimed(store, process, tenant, {"mode": "off"})

    assert await Caching(cache).before(job, stream_of(job, client)) is None
    move = await Caching(cache).after(job, success(job))
    assert isinstance(move, Finish)
    assert move.cache is None


async def test_an_answer_that_was_filtered_is_not_kept(store: Store, cache: Cache, client: "Redis") -> None:
    tenant, process = await store.tenant(), await store.process()
    job = await claimed(store, process, tenant)
    move = await Caching(cache).after(job, success(job, CUT))
    assert isinstance(move, Finish)
    assert orjson.loads(move.cache or "")["kept"] is False
    await finish(store, process, move)

    job = await claimed(store, process, tenant)
    assert await Caching(cache).before(job, stream_of(job, client)) is None


@pytest.mark.parametrize(("mode", "status"), [("default", "miss"), ("refresh", "refreshed"), ("off", None)])
async def test_a_failure_is_not_kept_and_tells_that_nothing_answered_it(
    store: Store, cache: Cache, mode: str, status: str | None
) -> None:
    process = await store.process()
    job = await claimed(store, process, await store.tenant(), {"mode": mode})
    failure = Finish(job.id, job.lease_no, "failed", job.event_seq, error="{}")
    assert await Caching(cache).after(job, failure) is failure
    told = None if status is None else {"status": status, "similarity": None, "age_s": None}
    assert (failure.cache and orjson.loads(failure.cache)) == told
    assert await cache.size(job.tenant_id) == (0, 0)


async def test_an_answer_that_the_cache_has_no_room_for_is_an_answer_and_says_so(store: Store, client: "Redis") -> None:
    process = await store.process()
    job = await claimed(store, process, await store.tenant())
    move = await Caching(Cache(client, CacheSettings(wait_s=2.0, entry_bytes=1))).after(job, success(job))
    assert isinstance(move, Finish)
    assert orjson.loads(move.cache or "") == {"status": "miss", "similarity": None, "age_s": None, "kept": False}
    await finish(store, process, move)
    assert (await store.job(job.id)).status == "succeeded"


async def test_a_job_that_wants_nothing_but_an_entry_fails_without_one(
    store: Store, cache: Cache, client: "Redis"
) -> None:
    process = await store.process()
    job = await claimed(store, process, await store.tenant(), {"mode": "only"})
    missed = await Caching(cache).before(job, stream_of(job, client))
    assert missed is not None
    assert orjson.loads(missed.error or "")["code"] == "cache_miss"
    assert orjson.loads(missed.cache or "")["status"] == "miss"


async def test_an_entry_can_be_found_by_the_labels_of_its_job(store: Store, cache: Cache) -> None:
    tenant, process = await store.tenant(), await store.process()
    await answered_once(store, process, cache, tenant)
    assert (
        await cache.invalidate(
            tenant, lambda a: (a.endpoint, a.model, a.metadata) == (CHAT, "sim/fast", {"category": "boots"})
        )
        == 0
    )
    assert (
        await cache.invalidate(
            tenant, lambda a: (a.endpoint, a.model, a.metadata) == (CHAT, "sim/fast", {"category": "tents"})
        )
        == 1
    )
