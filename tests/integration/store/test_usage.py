"""The books: what finished jobs used, by day; what a group cost; which model's queue and price it was."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import ids
from core.store.bulk import accept_group
from core.store.moves import resubmit
from core.store.reading import read_group
from core.store.work import Finish, Requeue, let_in_due, lose_orphans
from tests.support.store import ERROR, PUBLIC_URL, RESULT, Process, Store, new_job

_FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOBODY = UUID(int=0)
SUMS = "sum(jobs) AS jobs, sum(failed) AS failed, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS cost"


def finish(row: Any, *, tokens: tuple[int, int] | None = None, cost: str | None = None, **more: Any) -> Finish:
    usage = None
    if tokens is not None:
        counts = {
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "cached_tokens": 1,
            "total_tokens": sum(tokens),
        }
        usage = orjson.dumps(counts).decode()
    price = None if cost is None else Decimal(cost)
    more.setdefault("result", RESULT)
    return Finish(row.id, row.lease_no, "succeeded", row.event_seq, usage=usage, cost_usd=price, plain=True, **more)


async def test_a_finished_job_is_booked_under_its_tenant_key_model_endpoint_and_lane(store: Store) -> None:
    tenant, key = await store.tenant(), ids.new_id()
    await store.accept(
        new_job(tenant, key_id=key, lane="bulk"), new_job(tenant, key_id=key, lane="bulk"), new_job(tenant)
    )
    worker = await store.process()
    rows = [*await worker.claim(lane="bulk"), *await worker.claim()]
    assert [row.key_id for row in rows] == [key, key, None]
    assert {row.key_id for row in await store.rows("SELECT key_id FROM running")} == {key, None}
    await worker.commit([finish(row, tokens=(10, 5), cost="0.000125") for row in rows[:2]])
    await worker.commit([finish(rows[2])])
    booked = await store.rows("SELECT * FROM usage_days ORDER BY jobs")
    assert [(row.key_id, row.lane, row.jobs, row.unpriced_jobs) for row in booked] == [
        (NOBODY, "default", 1, 1),
        (key, "bulk", 2, 0),
    ]
    [_, row] = booked
    assert (row.tenant_id, row.model, row.endpoint) == (tenant, "sim/fast", "/v1/chat/completions")
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.cost_usd) == (20, 10, 2, Decimal("0.000250"))
    assert row.day == await store.value("SELECT (now() AT TIME ZONE 'UTC')::date")


async def test_failed_and_lost_jobs_are_booked_once_and_cancelled_ones_not(store: Store) -> None:
    tenant = await store.tenant()
    jobs = await store.accept(*(new_job(tenant, max_attempts=1) for _ in range(4)))
    worker = await store.process()
    rows = await worker.claim(3)
    await worker.fail(rows[0])
    await store.cancel(tenant, rows[1].id, jobs[3])
    await worker.succeed(rows[1])
    await worker.die()
    await lose_orphans(store.worker, PUBLIC_URL)
    [row] = await store.rows(f"SELECT {SUMS}, sum(unpriced_jobs) AS unpriced FROM usage_days")
    assert (row.jobs, row.failed, row.unpriced, row.cost) == (2, 2, 0, 0)


async def test_the_books_name_the_model_that_served(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(new_job(tenant), new_job(tenant, model="auto:fast", route_model="sim/fast"), new_job(tenant))
    worker = await store.process()
    rows = await worker.claim()
    await worker.commit([finish(rows[0]), finish(rows[1]), finish(rows[2], model="sim/large")])
    booked = await store.rows("SELECT model, sum(jobs) AS jobs FROM usage_days GROUP BY 1 ORDER BY 1")
    assert [(row.model, row.jobs) for row in booked] == [("sim/fast", 2), ("sim/large", 1)]


@_FEW
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=12), min_size=2, max_size=6
    )
)
async def test_commits_side_by_side_book_every_job_once(store: Store, batches: list[list[tuple[int, int]]]) -> None:
    await store.sql("TRUNCATE jobs, attempts, job_events, ready, running, usage_days")
    tenants = sorted([await store.tenant() for _ in range(2)])
    workers = [await store.process() for _ in batches]
    claims = []
    for worker, batch in zip(workers, batches, strict=True):
        await store.accept(*(new_job(tenants[who], model=f"sim/{model}") for model, who in batch))
        claims.append(list(await worker.claim()))

    async def end(worker: Process, rows: list[Any]) -> None:
        # Plain ones alone, and half of them in a transaction with a retry.
        *rows, last = rows
        moves = [finish(row, tokens=(3, 2), cost="0.01") for row in reversed(rows)]
        await worker.commit(moves, [Requeue(last.id, last.lease_no, "retried", "rate_limited", last.event_seq)])

    await asyncio.gather(*(end(worker, rows) for worker, rows in zip(workers, claims, strict=True)))
    ended = sum(len(batch) - 1 for batch in batches)
    [row] = await store.rows(f"SELECT {SUMS} FROM usage_days")
    assert (row.jobs or 0, row.input or 0, row.cost or 0) == (ended, 3 * ended, Decimal("0.01") * ended)


class TestGroups:
    async def _group(self, store: Store, costs: list[str | None]) -> Any:
        tenant, group = await store.tenant(), ids.new_id()
        await accept_group(store.api, tenant, group, [new_job(tenant, group_id=group) for _ in range(len(costs) + 1)])
        worker = await store.process()
        rows = await worker.claim()
        ends = [finish(row, tokens=(10, 1), cost=cost) for row, cost in zip(rows[1:], costs, strict=True)]
        await worker.commit([*ends, Finish(rows[0].id, rows[0].lease_no, "failed", rows[0].event_seq, error=ERROR)])
        return await read_group(store.api, tenant, group)

    async def test_usage_and_costs_are_summed(self, store: Store) -> None:
        row = await self._group(store, ["0.00000010", "0.2"])
        assert (row["cost_usd"], row["unpriced_jobs"]) == (Decimal("0.20000010"), 0)
        assert orjson.loads(row["usage"])["input_tokens"] == 20

    async def test_jobs_without_a_price_are_told_beside_the_sum(self, store: Store) -> None:
        row = await self._group(store, ["0.1", None, None])
        assert (row["cost_usd"], row["unpriced_jobs"]) == (Decimal("0.1"), 2)

    async def test_without_any_price_the_cost_is_null_and_not_zero(self, store: Store) -> None:
        row = await self._group(store, [None])
        assert (row["cost_usd"], row["unpriced_jobs"]) == (None, 1)


class TestRoutes:
    async def test_a_routed_job_stands_in_the_queue_of_its_model(self, store: Store) -> None:
        route = '{"model": "sim/fast", "tier": "simple", "reason": "short"}'
        job = await store.add(await store.tenant(), model="auto", route_model="sim/fast", route=route)
        worker = await store.process()
        [row] = await worker.claim(models={"sim/fast": 5})
        assert (row.id, row.model, row.route_model) == (job, "auto", "sim/fast")
        assert await store.value("SELECT model FROM running") == "sim/fast"
        served = {"model": "up", "deployment": "d", "tier": None, "reason": None, "region": None}
        await worker.commit([finish(row, route=orjson.dumps(served).decode())])
        told = orjson.loads((await store.job(job)).route)
        assert told == {"model": "up", "deployment": "d", "tier": "simple", "reason": "short", "region": None}

    async def test_a_job_that_is_not_routed_is_told_the_model_it_asked_for(self, store: Store) -> None:
        await store.accept(new_job(await store.tenant(), model="sim/fast", route_model="sim/fast"))
        worker = await store.process()
        [row] = await worker.claim()
        assert (row.model, row.route_model) == ("sim/fast", "sim/fast")

    async def test_a_routed_job_comes_back_to_the_queue_of_its_model(self, store: Store) -> None:
        """After a pause, a hand-back, a dead worker and a resubmit."""
        tenant = await store.tenant()
        job = await store.add(tenant, model="auto", route_model="sim/fast")
        room = {"sim/fast": 5}
        worker = await store.process()
        await worker.retry(*await worker.claim(models=room), delay_s=60)
        await store.make_due()
        await let_in_due(store.worker)
        await worker.hand_back(*await worker.claim(models=room))
        assert len(await worker.claim(models=room)) == 1
        await worker.die()
        await lose_orphans(store.worker, PUBLIC_URL)
        worker = await store.process()
        await worker.fail(*await worker.claim(models=room))
        await resubmit(store.api, tenant, job, PUBLIC_URL)
        assert [row.id for row in await worker.claim(models=room)] == [job]

    async def test_a_requeue_may_send_a_job_to_another_models_queue(self, store: Store) -> None:
        job = await store.add(await store.tenant(), model="sim/fast")
        worker = await store.process()
        [row] = await worker.claim()
        back = Requeue(row.id, row.lease_no, "retried", "outage", row.event_seq, route_model="sim/large")
        await worker.commit([], [back])
        [row] = await worker.claim(models={"sim/large": 1})
        assert (row.id, row.model, row.route_model) == (job, "sim/fast", "sim/large")
        await worker.commit(
            [], [Requeue(row.id, row.lease_no, "retried", "outage", row.event_seq, route_model="sim/fast")]
        )
        assert (await store.job(job)).route_model is None
