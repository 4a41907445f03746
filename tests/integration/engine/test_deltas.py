"""Storing streamed deltas where the database takes some and not others."""

from core.announce import Announcer, open_redis
from core.settings import Settings
from tests.support.store import Store, new_job
from tests.support.waiting import eventually
from workers.engine.deltas import DeltaStream, DeltaWriter
from workers.engine.job import Job
from workers.providers.protocol import Delta


async def test_a_stream_that_the_database_refuses_stops_no_other(store: Store, settings: Settings) -> None:
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant, stream=True) for _ in range(3)))
    process = await store.process()
    claimed = await process.claim()
    await store.sql("ALTER TABLE job_events ADD CONSTRAINT no_ink CHECK (data::text NOT LIKE '%ink%')")
    redis = open_redis(settings.redis_url, 1)
    announcer, writer = Announcer(redis), DeltaWriter(store.worker, 0.01)
    refused, *others = [DeltaStream(Job.of(row, 1), announcer, writer.note) for row in claimed]
    writer.start()

    async def stored() -> bool:
        rows = await store.rows("SELECT job_id, count(*) AS n FROM job_events WHERE type = 'job.delta' GROUP BY 1")
        return {row.job_id for row in rows} == {stream.job.id for stream in others} and all(row.n >= 2 for row in rows)

    for stream in (refused, *others):
        stream.add(Delta("ink" if stream is refused else "a", None))
    await eventually(lambda: _is(refused))
    for stream in (refused, *others):
        stream.add(Delta("b", None))
    await eventually(stored)
    assert [task.done() for task in writer.tasks] == [False]
    chunks = await writer.settle(refused)
    assert [(chunk.id, chunk.seq, chunk.data) for chunk in chunks] == [
        (refused.job.id, 3, '[{"delta":"ink"}]'), (refused.job.id, 4, '[{"delta":"b"}]'),
    ]  # fmt: skip
    await writer.stop()
    await redis.aclose()


async def _is(stream: DeltaStream) -> bool:
    return stream.refused
