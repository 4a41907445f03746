"""Hits as the API stores them: jobs that have ended when they begin."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from core import ids
from core.cache import About, Entry, hit_of, plan_job
from core.store.cached import Hit, HitCommitter, read_stats
from tests.support.store import CHAT, PUBLIC_URL, Store, chat_body, new_job

ENTRY = Entry(
    '{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"On the third hook."}}]}',
    {"input_tokens": 5, "output_tokens": 4, "cached_tokens": 0, "total_tokens": 9, "saved_tokens": 3},
    Decimal("0.0001"),
    120.0,
    time.time() - 60,
    {"model": "sim/fast", "deployment": "sim-fast"},
    About(CHAT, "sim/fast"),
)


def hit(tenant: UUID, **fields: Any) -> Hit:
    body = chat_body("sim/fast", temperature=0)
    job = new_job(tenant, body=body, **fields)
    plan_job(job, orjson.loads(body), None)
    return hit_of(job, ENTRY, 1.5)


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
async def hits(store: Store, woken: list[str]) -> AsyncIterator[HitCommitter]:
    committer = HitCommitter(store.api, PUBLIC_URL, work=woken.append)
    committer.start()
    yield committer
    await committer.stop()


async def test_a_hit_is_a_job_that_has_succeeded_and_costs_nothing(store: Store, hits: HitCommitter) -> None:
    tenant = await store.tenant()
    one = hit(tenant)

    accepted = await hits.submit(one)

    assert accepted.created_at is not None
    job = await store.job(one.id)
    cache = orjson.loads(job.cache)
    assert (job.status, job.cost_usd, job.attempts, job.result) == ("succeeded", 0, 0, ENTRY.result)
    assert job.concurrency_key is None
    assert (cache["status"], cache["saved"]) == ("hit", {"tokens": 9, "usd": "0.0001", "ms": 120.0})
    assert cache["age_s"] >= 60
    assert orjson.loads(job.usage)["total_tokens"] == 9
    assert await store.places(one.id) == []
    assert await store.events(one.id) == [(2, "job.succeeded")]
    [used] = await store.rows(
        "SELECT sum(jobs) AS jobs, sum(output_tokens) AS o, sum(saved_tokens) AS s FROM usage_days"
    )
    assert (used.jobs, used.o, used.s) == (1, 0, 9)


async def test_a_streaming_hit_is_told_as_deltas(store: Store, hits: HitCommitter) -> None:
    one = hit(await store.tenant(), stream=True)

    await hits.submit(one)

    rows = await store.rows(
        "SELECT seq, last_seq, type, data FROM job_events WHERE job_id = :id ORDER BY seq", id=one.id
    )
    deltas = orjson.loads(rows[0].data)
    assert [row.type for row in rows] == ["job.delta", "job.succeeded"]
    assert (rows[0].seq, rows[0].last_seq, rows[1].seq) == (2, len(deltas) + 1, len(deltas) + 2)
    assert "".join(delta["delta"] for delta in deltas) == "On the third hook."


async def test_hits_with_webhooks_and_without_share_a_commit_and_lose_nothing(
    store: Store, hits: HitCommitter, woken: list[str]
) -> None:
    quiet, loud = await store.tenant(), await store.tenant()
    await store.sql(
        "INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret_encrypted, secret_hint) "
        "VALUES (:id, :tenant, '', 'https://example.com', ARRAY['job.succeeded'], '', '')",
        id=ids.new_id(),
        tenant=loud,
    )
    batch = [hit(quiet), hit(loud), hit(quiet, webhook='{"url":"https://example.com/own"}'), hit(quiet)]

    accepted = await asyncio.gather(*(hits.submit(one) for one in batch))

    assert all(each.created_at is not None for each in accepted)
    assert await store.statuses() == {"succeeded": 4}
    told = {row.job_id for row in await store.rows("SELECT job_id FROM webhook_events")}
    assert told == {batch[1].id, batch[2].id}
    assert "webhooks" in woken


async def test_an_idempotency_key_stands_for_a_hit_too(store: Store, hits: HitCommitter) -> None:
    tenant = await store.tenant()
    first = hit(tenant, idempotency_key="k", fingerprint=b"f")
    again = hit(tenant, idempotency_key="k", fingerprint=b"f")

    await hits.submit(first)

    assert (await hits.submit(again)).original == first.id
    assert await store.statuses() == {"succeeded": 1}


async def test_a_row_that_postgres_refuses_takes_no_other_with_it(store: Store, hits: HitCommitter) -> None:
    tenant = await store.tenant()
    broken = hit(tenant, idempotency_key="k")
    broken.result = '{"nul": "\\u0000'
    good = [hit(tenant), hit(tenant), hit(tenant, idempotency_key="other")]

    answers = await asyncio.gather(*(hits.submit(one) for one in (good[0], broken, *good[1:])), return_exceptions=True)

    assert isinstance(answers[1], Exception)
    assert not any(isinstance(each, Exception) for place, each in enumerate(answers) if place != 1)
    assert await store.statuses() == {"succeeded": 3}


async def test_the_hours_tell_what_was_saved_to_their_tenant_alone(store: Store, hits: HitCommitter) -> None:
    tenant, other = await store.tenant(), await store.tenant()
    await asyncio.gather(*(hits.submit(hit(tenant)) for _ in range(5)))
    now = datetime.now(UTC)

    [row] = await read_stats(store.api, tenant, now - timedelta(hours=2), now + timedelta(hours=1))

    assert (row["hits"], row["saved_tokens"], row["saved_usd"], row["saved_ms"]) == (5, 45, Decimal("0.0005"), 600.0)
    assert (row["endpoint"], row["model"]) == (CHAT, "sim/fast")
    assert await read_stats(store.api, other, now - timedelta(hours=2), now + timedelta(hours=1)) == []
