"""The event stream of a job: numbers rise for ever, without a gap within an attempt."""

from itertools import pairwise

import orjson

from core.store.moves import resubmit
from core.store.reading import read_events, read_states
from core.store.work import DeltaChunk, Finish, Requeue, abandon, commit_outcomes, lose_orphans, store_deltas
from tests.support.store import PUBLIC_URL, RESULT, Store


def chunk(claimed: object, seq: int, *texts: str, lease_no: int | None = None) -> DeltaChunk:
    data = orjson.dumps([{"delta": text} for text in texts]).decode()
    return DeltaChunk(
        claimed.id,  # type: ignore[attr-defined]
        lease_no or claimed.lease_no,  # type: ignore[attr-defined]
        seq,
        seq + len(texts) - 1,
        data,
    )


async def test_deltas_and_the_end_are_numbered_without_a_gap(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant, stream=True)
    worker = await store.process()
    [claimed] = await worker.claim()
    assert claimed.event_seq == 2
    await store_deltas(store.worker, [chunk(claimed, 3, "a", "b")])
    done = Finish(job, claimed.lease_no, "succeeded", 6, result=RESULT)
    last = chunk(claimed, 5, "c", "d")
    await commit_outcomes(store.worker, worker.id, [done], [], [last], PUBLIC_URL)

    events = await read_events(store.api, tenant, job, 0)
    assert [(event["seq"], event["last_seq"], event["type"]) for event in events] == [
        (2, 2, "job.started"), (3, 4, "job.delta"), (5, 6, "job.delta"), (7, 7, "job.succeeded"),
    ]  # fmt: skip
    assert orjson.loads(events[1]["data"]) == [{"delta": "a"}, {"delta": "b"}]
    assert [event["seq"] for event in await read_events(store.api, tenant, job, 3)] == [3, 5, 7]
    assert [event["seq"] for event in await read_events(store.api, tenant, job, 4)] == [5, 7]
    assert [event["seq"] for event in await read_events(store.api, tenant, job, 7)] == []
    assert len(await read_events(store.api, tenant, job, 0, most=2)) == 2


async def test_a_worker_without_the_lease_adds_nothing_to_the_stream(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant, stream=True)
    frozen, other = await store.process(), await store.process()
    [early] = await frozen.claim()
    await frozen.die()
    await lose_orphans(store.worker, PUBLIC_URL)
    await store_deltas(store.worker, [chunk(early, 3, "ghost")])
    [late] = await other.claim()
    await store_deltas(store.worker, [chunk(early, late.event_seq + 1, "ghost")])
    await store_deltas(store.worker, [chunk(late, late.event_seq + 1, "real")])
    stored = [event for event in await read_events(store.api, tenant, job, 0) if event["type"] == "job.delta"]
    assert [orjson.loads(event["data"]) for event in stored] == [[{"delta": "real"}]]


async def test_a_chunk_that_is_stored_twice_counts_once(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant, stream=True)
    worker = await store.process()
    [claimed] = await worker.claim()
    for _ in range(2):
        await store_deltas(store.worker, [chunk(claimed, 3, "a")])
    assert len(await read_events(store.api, tenant, job, 2)) == 1


async def test_numbers_rise_through_retries_losses_and_resubmission(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant, stream=True, max_attempts=9)
    worker = await store.process()
    [claimed] = await worker.claim()
    retry = Requeue(job, claimed.lease_no, "retried", "upstream_error", 4, reset=True)
    await commit_outcomes(store.worker, worker.id, [], [retry], [chunk(claimed, 3, "a", "b")], PUBLIC_URL)
    await worker.claim()
    await worker.die()
    await lose_orphans(store.worker, PUBLIC_URL)
    worker = await store.process()
    [claimed] = await worker.claim()
    await abandon(store.worker, worker.id, {job: claimed.lease_no})
    await lose_orphans(store.worker, PUBLIC_URL)
    await worker.fail(*await worker.claim())
    await resubmit(store.api, tenant, job, PUBLIC_URL)
    await store.cancel(tenant, job)

    events = await read_events(store.api, tenant, job, 0)
    spans = [(event["seq"], event["last_seq"]) for event in events]
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert [event["type"] for event in events] == [
        "job.started", "job.delta", "job.reset", "job.retrying",
        "job.started", "job.reset", "job.retrying",
        "job.started", "job.reset", "job.retrying",
        "job.started", "job.failed", "job.reset", "job.queued", "job.cancelled",
    ]  # fmt: skip
    state = (await read_states(store.api, [tenant], [job]))[job]
    assert (state[1], state[2]) == ("cancelled", spans[-1][1])
    assert (await store.job(job)).event_seq == spans[-1][1]


async def test_cancelling_a_stream_jumps_over_what_its_worker_may_have_shown(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant, stream=True)
    worker = await store.process()
    [claimed] = await worker.claim()
    await store_deltas(store.worker, [chunk(claimed, 3, "a")])
    await store.cancel(tenant, job)
    await store_deltas(store.worker, [chunk(claimed, 4, "too late")])
    events = await store.events(job)
    assert [kind for _, kind in events] == ["job.started", "job.delta", "job.cancelled"]
    assert events[-1][0] > 1_000_000


async def test_every_state_a_waiter_may_have_missed_has_a_higher_version(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant)
    worker = await store.process()
    versions = []

    async def note() -> None:
        versions.append((await read_states(store.api, [tenant], [job]))[job][0])

    await note()
    for _ in range(2):
        rows = await worker.claim()
        await note()
        await worker.retry(*rows)
        await note()
    await store.cancel(tenant, job)
    await note()
    assert versions == sorted(set(versions))


async def test_the_states_of_foreign_and_unknown_jobs_are_left_out(store: Store) -> None:
    tenant, other = await store.tenant(), await store.tenant()
    mine, foreign = await store.add(tenant), await store.add(other)
    assert set(await read_states(store.api, [tenant], [mine, foreign])) == {mine}
    assert set(await read_states(store.api, [tenant, other], [mine, foreign])) == {mine, foreign}
    assert await read_events(store.api, other, mine, 0) == []
