"""Identical jobs in flight: one call, and everybody's end in its commit."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from core.cache import plan_job
from core.store.accept import NewJob
from core.store.work import Finish, expire_late, lose_orphans
from tests.support.store import PUBLIC_URL, Process, Store, chat_body, new_job

ANSWER = (
    '{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"On the third hook."}}]}'
)
USAGE = '{"input_tokens":5,"output_tokens":4,"total_tokens":9}'


def asking(tenant: UUID, prompt: str = "Where?", **fields: Any) -> NewJob:
    """A job that may share its call, as the API makes it."""
    body = chat_body("sim/fast", prompt, temperature=0, stream=fields.get("stream", False))
    job = new_job(tenant, body=body, **fields)
    plan_job(job, orjson.loads(body), None)
    return job


async def answer(process: Process, *rows: Any) -> Any:
    return await process.commit(
        [
            Finish(
                row.id, row.lease_no, "succeeded", row.event_seq, result=ANSWER, usage=USAGE, cache='{"status":"miss"}',
                timing='{"upstream_ms":120.0}',
            )
            for row in rows
        ]
    )  # fmt: skip


async def test_a_thousand_identical_jobs_make_one_call_and_end_in_one_commit(store: Store) -> None:
    tenant = await store.tenant()
    jobs = await store.accept(*(asking(tenant) for _ in range(1000)))
    process = await store.process()

    [leader] = await process.claim(1000)
    committed = await answer(process, leader)

    assert len(committed.coalesced) == 999
    assert set(committed.coalesced) == {*jobs} - {leader.id}
    assert await store.statuses() == {"succeeded": 1000}
    assert await store.value("SELECT count(*) FROM held_back") == 0
    assert await store.value("SELECT count(*) FROM attempts") == 1


async def test_a_follower_tells_what_it_was_spared(store: Store) -> None:
    tenant = await store.tenant()
    first, second = await store.accept(asking(tenant), asking(tenant))
    process = await store.process()
    [leader] = await process.claim()

    await answer(process, leader)

    follower = await store.job(second if leader.id == first else first)
    cache = orjson.loads(follower.cache)
    assert follower.result == ANSWER
    assert cache["status"] == "coalesced"
    assert cache["saved"] == {"tokens": 9, "usd": None, "ms": 120.0}
    assert follower.cost_usd == 0
    assert follower.attempts == 0
    assert [kind for _, kind in await store.events(follower.id)] == ["job.succeeded"]
    [hour] = await store.rows(
        "SELECT sum(misses) AS misses, sum(coalesced) AS coalesced, sum(saved_tokens) AS tokens FROM cache_hours"
    )
    assert (hour.misses, hour.coalesced, hour.tokens) == (1, 1, 9)
    [used] = await store.rows(
        "SELECT sum(jobs) AS jobs, sum(output_tokens) AS o, sum(saved_tokens) AS s FROM usage_days"
    )
    assert (used.jobs, used.o, used.s) == (2, 4, 9)


async def test_followers_of_a_job_that_was_a_hit_itself_are_spared_what_it_was(store: Store) -> None:
    tenant = await store.tenant()
    first, second = await store.accept(asking(tenant), asking(tenant))
    process = await store.process()
    [leader] = await process.claim()
    saved = {"tokens": 9, "usd": "0.00000006", "ms": 120.0}
    hit = orjson.dumps({"status": "hit", "similarity": None, "age_s": 1.0, "saved": saved}).decode()
    finish = Finish(
        leader.id,
        leader.lease_no,
        "succeeded",
        leader.event_seq,
        result=ANSWER,
        usage=USAGE,
        cache=hit,
        cost_usd=Decimal(0),
    )
    await process.commit([finish])

    follower = await store.job(second if leader.id == first else first)
    assert orjson.loads(follower.cache)["saved"] == saved
    [hour] = await store.rows("SELECT sum(saved_usd) AS usd, sum(unpriced) AS unpriced FROM cache_hours")
    assert (hour.usd, hour.unpriced) == (Decimal("0.00000012"), 0)


async def test_a_follower_that_streams_is_told_the_answer_as_deltas(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(asking(tenant))
    [follower] = await store.accept(asking(tenant, stream=True))
    process = await store.process()

    await answer(process, *await process.claim())

    rows = await store.rows(
        "SELECT seq, last_seq, type, data FROM job_events WHERE job_id = :id ORDER BY seq", id=follower
    )
    assert [row.type for row in rows] == ["job.delta", "job.succeeded"]
    assert rows[0].seq == 2
    assert rows[1].seq == rows[0].last_seq + 1
    assert "".join(delta["delta"] for delta in orjson.loads(rows[0].data)) == "On the third hook."
    assert (await store.job(follower)).event_seq == rows[1].seq


@pytest.mark.parametrize("end", ["failed", "cancelled", "lost", "expired"])
async def test_when_the_leader_ends_without_an_answer_exactly_one_follower_takes_over(store: Store, end: str) -> None:
    tenant = await store.tenant()
    jobs = await store.accept(*(asking(tenant, max_attempts=1) for _ in range(5)))
    process = await store.process()
    if end == "expired":
        [row] = await store.rows("SELECT job_id FROM ready")
        await store.make_late(row.job_id)
        await expire_late(store.worker, PUBLIC_URL)
    else:
        [leader] = await process.claim()
        if end == "failed":
            await process.fail(leader)
        elif end == "cancelled":
            await store.cancel(tenant, leader.id)
        else:
            await process.die()
            await lose_orphans(store.worker, PUBLIC_URL)
            process = await store.process()

    [successor] = await process.claim()
    await answer(process, successor)

    assert (await store.statuses())["succeeded"] == len(jobs) - 1
    assert await store.value("SELECT count(*) FROM held_back") == 0


async def test_a_cancelled_follower_hurts_nobody(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(asking(tenant))
    [gone] = await store.accept(asking(tenant))
    [kept] = await store.accept(asking(tenant))
    process = await store.process()
    [leader] = await process.claim()

    await store.cancel(tenant, gone)
    await answer(process, leader)

    assert await store.status(gone) == "cancelled"
    assert await store.status(kept) == "succeeded"


async def test_a_leader_that_lost_its_lease_ends_nobody(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(asking(tenant), asking(tenant))
    process = await store.process()
    [leader] = await process.claim()
    await process.die()
    await lose_orphans(store.worker, PUBLIC_URL)

    committed = await answer(process, leader)

    assert (committed.finished, committed.coalesced) == ([], [])
    assert await store.statuses() == {"queued": 2}


async def test_what_differs_shares_nothing(store: Store) -> None:
    tenant, other = await store.tenant(), await store.tenant()
    await store.accept(asking(tenant), asking(tenant, "When?"), asking(tenant, lane="bulk"), asking(other))
    process = await store.process()

    assert len(await process.claim()) == 3
    assert len(await process.claim(lane="bulk")) == 1


async def test_a_callers_own_concurrency_key_never_makes_a_job_a_follower(store: Store) -> None:
    tenant = await store.tenant()
    leader = asking(tenant)
    await store.accept(leader)
    stranger = new_job(
        tenant,
        body=chat_body("sim/fast", "Something else"),
        concurrency_key=leader.concurrency_key,
        concurrency_limit=1,
    )
    await store.accept(stranger)
    process = await store.process()
    [claimed] = await process.claim()

    committed = await answer(process, claimed)

    assert committed.coalesced == []
    assert await store.places(stranger.id) == ["ready"]


async def test_followers_count_down_their_group_and_send_their_webhooks(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(asking(tenant))
    [follower] = await store.accept(asking(tenant, webhook='{"url":"https://example.com/hook"}'))
    process = await store.process()

    committed = await answer(process, *await process.claim())

    assert committed.deliveries == 1
    assert await store.value("SELECT job_id FROM webhook_events") == follower
