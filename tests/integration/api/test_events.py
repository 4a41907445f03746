"""Event streams: whole from any point, on any process, after the end, with Redis and without."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.announce import Announcer, open_redis
from core.settings import Settings
from core.store.work import DeltaChunk, Finish, store_deltas
from tests.support.api import Api, Caller, running_api
from tests.support.raw_http import until
from tests.support.store import RESULT, Process, Store
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Event:
    number: int
    type: str
    data: Any


async def events_of(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "id" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


async def follow(caller: Caller, job: dict[str, Any], after: int = 0, *, header: bool = False) -> list[Event]:
    """The events after a number, up to the end of the stream."""
    where: dict[str, Any] = {"headers": {"last-event-id": str(after)}} if header else {"params": {"after": after}}
    async with caller.http.stream("GET", f"/v1/jobs/{job['id']}/events", **where) as answer:
        assert answer.status_code == 200
        return [event async for event in events_of(answer)]


async def streaming_job(caller: Caller) -> dict[str, Any]:
    request = {
        "endpoint": "/v1/chat/completions",
        "body": {"model": "sim/fast", "stream": True, "messages": [{"role": "user", "content": "a"}]},
    }
    return dict(await caller.post("/v1/jobs", 202, request))


async def tell(store: Store, claimed: Any, first: int, *texts: str) -> None:
    """Store deltas as a worker does."""
    data = json.dumps([{"delta": text} for text in texts])
    await store_deltas(store.worker, [DeltaChunk(claimed.id, claimed.lease_no, first, first + len(texts) - 1, data)])


async def end(process: Process, claimed: Any, last: int) -> None:
    await process.commit([Finish(claimed.id, claimed.lease_no, "succeeded", last, result=RESULT)])


async def streamed_job(caller: Caller, store: Store) -> dict[str, Any]:
    """A job that streamed five deltas in two chunks and ended: events 1 to 8."""
    job = await streaming_job(caller)
    process = await store.process()
    (claimed,) = await process.claim()
    assert claimed.event_seq == 2
    await tell(store, claimed, 3, "a", "b", "c")
    await tell(store, claimed, 6, "d", "e")
    await end(process, claimed, 7)
    return job


async def test_a_finished_stream_is_whole_from_every_point(caller: Caller, store: Store) -> None:
    job = await streamed_job(caller, store)
    whole = await follow(caller, job)
    assert [(event.number, event.type) for event in whole] == [
        (1, "job.queued"), (2, "job.started"), *((n, "job.delta") for n in range(3, 8)), (8, "job.succeeded"),
    ]  # fmt: skip
    assert "".join(event.data["delta"] for event in whole[2:7]) == "abcde"
    assert whole[-1].data == await caller.get(f"/v1/jobs/{job['id']}")
    for after in range(10):
        assert await follow(caller, job, after) == whole[after:]
        assert await follow(caller, job, after, header=True) == whole[after:]


async def test_a_reader_at_work_sees_each_event_once_and_in_order(api: Api, caller: Caller, store: Store) -> None:
    job = await streaming_job(caller)
    redis = open_redis(api.settings.redis_url, 1)
    announcer = Announcer(redis)
    announcer.start()
    reader = asyncio.create_task(follow(caller, job))
    process = await store.process()
    (claimed,) = await process.claim()
    announcer.moved([claimed.id])
    expected = []
    for number in range(3, 203):
        # Live first and stored a little later, sometimes live only after it was stored, sometimes never live.
        expected.append(f"w{number}")
        if number % 7 == 0:
            await tell(store, claimed, number, f"w{number}")
            announcer.deltas(claimed.id, number, [{"delta": f"w{number}"}])
        elif number % 11 == 0:
            await tell(store, claimed, number, f"w{number}")
        else:
            announcer.deltas(claimed.id, number, [{"delta": f"w{number}"}])
            await tell(store, claimed, number, f"w{number}")
    await end(process, claimed, 202)
    announcer.moved([claimed.id])
    events = await asyncio.wait_for(reader, 20)
    await announcer.stop()
    await redis.aclose()
    assert [event.data["delta"] for event in events if event.type == "job.delta"] == expected
    assert [event.number for event in events] == list(range(1, 204))


async def test_another_process_without_redis_goes_on_where_the_first_left_off(
    api: Api, caller: Caller, store: Store, settings: Settings, owner: AsyncEngine
) -> None:
    job = await streaming_job(caller)
    process = await store.process()
    (claimed,) = await process.claim()
    await tell(store, claimed, 3, "a", "b")
    async with caller.http.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        seen = 0
        async for event in events_of(answer):
            seen = event.number
            if seen == 3:
                break
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with running_api(away, owner) as elsewhere:
        other = await elsewhere.caller("acme")
        reader = asyncio.create_task(follow(other, job, seen))
        await tell(store, claimed, 5, "c")
        await end(process, claimed, 5)
        events = await asyncio.wait_for(reader, 20)
    assert [(event.number, event.type) for event in events] == [
        (4, "job.delta"),
        (5, "job.delta"),
        (6, "job.succeeded"),
    ]


async def test_the_stream_goes_on_after_a_retry_and_keeps_the_earlier_end(caller: Caller, store: Store) -> None:
    job = await caller.submit()
    process = await store.process()
    await process.fail(*await process.claim())
    failed = await follow(caller, job)
    await caller.post(f"/v1/jobs/{job['id']}/retry")
    await process.succeed(*await process.claim())
    whole = await follow(caller, job)
    assert [event.type for event in whole] == [
        "job.queued", "job.started", "job.failed", "job.queued", "job.started", "job.succeeded",
    ]  # fmt: skip
    assert whole[:2] == failed[:2]
    assert whole[2].data["status"] == "failed"
    assert whole[2].data["error"]["code"] == "upstream_error"
    assert await follow(caller, job, whole[2].number) == whole[3:]


async def test_a_retry_of_a_job_that_had_streamed_tells_readers_to_begin_anew(caller: Caller, store: Store) -> None:
    job = await streaming_job(caller)
    process = await store.process()
    (claimed,) = await process.claim()
    await tell(store, claimed, 3, "a", "b")
    await caller.post(f"/v1/jobs/{job['id']}/cancel")
    await caller.post(f"/v1/jobs/{job['id']}/retry")
    (claimed,) = await process.claim()
    await tell(store, claimed, claimed.event_seq + 1, "a", "b", "c")
    await end(process, claimed, claimed.event_seq + 3)
    text = ""
    for event in await follow(caller, job):
        text = "" if event.type == "job.reset" else text + event.data.get("delta", "")
    assert text == "abc"


@asynccontextmanager
async def locked(owner: AsyncEngine, table: str) -> AsyncIterator[None]:
    """Keep everybody out of a table."""
    async with owner.connect() as connection:
        await connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        await connection.rollback()


async def somebody_waits_for(store: Store, table: str) -> list[int]:
    """Wait until a session waits for the table; the sessions' numbers."""
    found: list[int] = []

    async def look() -> bool:
        query = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = CAST(:table AS regclass)"
        found.extend(row.pid for row in await store.rows(query, table=table))
        return bool(found)

    await eventually(look)
    return found


async def test_a_store_that_fails_halfway_through_a_look_takes_no_events_along(
    caller: Caller, store: Store, owner: AsyncEngine
) -> None:
    job = await streamed_job(caller, store)
    async with AsyncExitStack() as jobs_locked:
        async with locked(owner, "job_events"):
            reader = asyncio.create_task(follow(caller, job))
            await somebody_waits_for(store, "job_events")
            await jobs_locked.enter_async_context(locked(owner, "jobs"))
        # The events have been read; the end of them wants to show the job.
        for session in await somebody_waits_for(store, "jobs"):
            await store.sql("SELECT pg_terminate_backend(:session)", session=session)
    assert [event.number for event in await reader] == list(range(1, 9))


async def test_a_cancelled_job_ends_its_stream(caller: Caller) -> None:
    job = await caller.submit()
    reader = asyncio.create_task(follow(caller, job))
    await caller.post(f"/v1/jobs/{job['id']}/cancel")
    assert [event.type for event in await asyncio.wait_for(reader, 20)][-1] == "job.cancelled"


async def test_a_deleted_job_ends_its_stream(api: Api, caller: Caller, store: Store) -> None:
    job = await caller.submit()
    reader = asyncio.create_task(follow(caller, job, 10_000))
    hub = api.running.app.state.services.hub
    await until(lambda: hub.waiting > 0)
    process = await store.process()
    await process.succeed(*await process.claim())
    await caller.http.delete(f"/v1/jobs/{job['id']}")
    assert await asyncio.wait_for(reader, 20) == []


async def test_silence_is_broken_by_comments_and_headers_keep_proxies_out(
    settings: Settings, owner: AsyncEngine
) -> None:
    async with running_api(settings, owner, sse_keepalive_s=0.05) as quick:
        caller = await quick.caller()
        job = await caller.submit()
        async with caller.http.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["x-accel-buffering"] == "no"
            comments = 0
            async for line in answer.aiter_lines():
                comments += line.startswith(":")
                if comments == 3:
                    break


async def test_every_block_of_a_stream_is_an_event(settings: Settings, owner: AsyncEngine, store: Store) -> None:
    async with running_api(settings, owner, sse_keepalive_s=0.02) as quick:
        caller = await quick.caller()
        job = await streaming_job(caller)
        process = await store.process()
        (claimed,) = await process.claim()
        told, ended = b"", False
        async with caller.http.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
            async for piece in answer.aiter_bytes():
                told += piece
                if told.count(b": still here") == 2 and not ended:
                    ended = True
                    await end(process, claimed, 2)
    blocks = told.decode().split("\n\n")
    assert blocks.pop() == ""
    assert blocks[0].startswith("retry: 1000\nid: 1\nevent: job.queued\n")
    assert [block.partition("id: ")[2][0] for block in blocks] == ["1", "2", "3"]


async def test_a_reader_by_http_1_0_gets_the_events_without_chunks_between_them(api: Api, caller: Caller) -> None:
    job = await caller.submit()
    await caller.post(f"/v1/jobs/{job['id']}/cancel")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"GET /v1/jobs/{job['id']}/events HTTP/1.0\r\nauthorization: Bearer {caller.key}\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 OK") and b"transfer-encoding" not in head
    names = [line.partition(b":")[0] for line in body.splitlines() if line]
    assert set(names) == {b"retry", b"id", b"event", b"data"}
    assert body.endswith(b"\n\n")


async def test_a_reader_that_leaves_is_forgotten(api: Api, caller: Caller) -> None:
    job = await caller.submit()
    hub = api.running.app.state.services.hub
    async with caller.http.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        assert answer.status_code == 200
        assert hub.waiting == 1
    await until(lambda: hub.waiting == 0)


@pytest.mark.parametrize("path", ["/v1/jobs/{id}/events", "/v1/jobs/{id}?wait=60"])
async def test_the_end_of_the_process_sends_waiters_home(settings: Settings, owner: AsyncEngine, path: str) -> None:
    async with running_api(settings, owner) as ending:
        caller = await ending.caller()
        job = await caller.submit()
        reader, writer = await asyncio.open_connection("127.0.0.1", ending.port)
        asked = f"GET {path.format(id=job['id'])} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\n\r\n"
        writer.write(asked.encode())
        hub = ending.running.app.state.services.hub
        await until(lambda: hub.waiting > 0)
    told = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert told.startswith(b"HTTP/1.1 200 OK")
    assert told.endswith(b"0\r\n\r\n") or b'"status":"queued"' in told


async def test_foreign_deltas_in_redis_harm_no_stream(api: Api, caller: Caller, store: Store) -> None:
    job = await streaming_job(caller)
    reader = asyncio.create_task(follow(caller, job))
    services = api.running.app.state.services
    await until(lambda: services.hub.waiting > 0)
    channel = b"coatcheck:delta:" + ids.decode(ids.JOB, job["id"]).hex.encode()
    for nonsense in (b"", b"{", b"[]", b'{"seq": "a", "deltas": 1}', b'{"seq": 1000000, "deltas": [{}]}'):
        await services.redis.publish(channel, nonsense)
    process = await store.process()
    (claimed,) = await process.claim()
    await end(process, claimed, 2)
    assert [event.number for event in await asyncio.wait_for(reader, 20)] == [1, 2, 3]
