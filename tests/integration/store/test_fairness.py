"""Whose turn it is: tenants take turns, priorities order the jobs of one tenant, and nobody gains by anything else."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.support.store import Process, Store, new_job

_FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

priorities = st.lists(st.integers(0, 9), min_size=1, max_size=25)


async def _serve(worker: Process, batch: int, most: int = 10_000) -> list[tuple[UUID, UUID]]:
    """Claim and finish in batches until nothing is left; (tenant, job) in the order of the claims."""
    served: list[tuple[UUID, UUID]] = []
    while len(served) < most and (rows := await worker.claim(batch)):
        await worker.succeed(*rows)
        served += [(row.tenant_id, row.id) for row in rows]
    return served


async def _empty(store: Store) -> None:
    await store.sql("TRUNCATE jobs, attempts, job_events, ready, waiting, running, tenant_turns")
    await store.sql("UPDATE lane_clocks SET virtual_time = 0")


async def _flood(store: Store, tenant: UUID, jobs: int, priority: str) -> None:
    """Put many small jobs of a tenant straight into the tables, with the tags that the queue would give them."""
    async with store.owner.begin() as connection:
        await connection.execute(text("SELECT setseed(0.5)"))
        await connection.execute(
            text(f"""
            WITH made AS (
              INSERT INTO jobs (id, tenant_id, status, endpoint, model, lane, priority, body, stream, metadata,
                max_attempts, timeout_s, ttl_s, created_at, run_at, expires_at)
              SELECT (left(replace(uuid7_floor(now())::text, '-', ''), 12) || lpad(to_hex(n), 20, '0'))::uuid, :tenant,
                'queued', '/v1/chat/completions', 'sim/fast', 'default', {priority}, '{{}}', false, '{{}}', 1, 60, 3600,
                now(), now(), now() + interval '1 hour'
              FROM generate_series(1, :jobs) n RETURNING *)
            INSERT INTO ready (job_id, tenant_id, lane, model, tag, priority, body_bytes, expires_at)
            SELECT id, tenant_id, lane, model, row_number() OVER (ORDER BY id), priority, 2, expires_at FROM made"""),
            {"tenant": tenant, "jobs": jobs},
        )
        await connection.execute(
            text("INSERT INTO tenant_turns (lane, tenant_id, finish_tag) VALUES ('default', :tenant, :jobs)"),
            {"tenant": tenant, "jobs": jobs},
        )


async def test_tenants_alternate(store: Store) -> None:
    first, second = await store.tenant(), await store.tenant()
    await store.accept(*(new_job(first) for _ in range(8)))
    await store.accept(*(new_job(second) for _ in range(4)))
    served = [tenant for tenant, _ in await _serve(await store.process(), 1)]
    assert Counter(served[:8]) == {first: 4, second: 4}
    assert all(Counter(served[: 2 * n])[second] == n for n in range(1, 5))


@pytest.mark.parametrize("priority", ["0", "9", "(random() * 9)::int"])
async def test_ten_thousand_jobs_of_one_tenant_delay_another_by_two_batches_at_most(
    store: Store, priority: str
) -> None:
    greedy, modest = await store.tenant(), await store.tenant()
    await _flood(store, greedy, 10_000, priority)
    worker = await store.process()
    batch = 32
    for _ in range(3):
        await worker.claim(batch)
    job = await store.add(modest, priority=0)
    batches = [[row.id for row in await worker.claim(batch)] for _ in range(2)]
    assert job in batches[0] + batches[1]


async def test_a_tenant_that_was_away_has_saved_up_no_turns(store: Store) -> None:
    busy, sleeper = await store.tenant(), await store.tenant()
    worker = await store.process()
    await store.accept(*(new_job(busy) for _ in range(30)))
    await _serve(worker, 5)
    await store.accept(*(new_job(busy) for _ in range(10)))
    await store.accept(*(new_job(sleeper) for _ in range(10)))
    served = [tenant for tenant, _ in await _serve(worker, 1, most=10)]
    assert Counter(served) == {busy: 5, sleeper: 5}


@_FEW
@given(priorities=priorities, batch=st.integers(1, 7))
async def test_one_tenants_jobs_go_by_priority_then_by_age(store: Store, priorities: list[int], batch: int) -> None:
    await _empty(store)
    tenant = await store.tenant()
    jobs = await store.accept(*(new_job(tenant, priority=priority) for priority in priorities))
    served = []
    worker = await store.process()
    while rows := await worker.claim(batch):
        # A claim is a set: within a batch everything starts at once.
        served += sorted((row.id for row in rows), key=lambda job: (-priorities[jobs.index(job)], job))
    assert served == sorted(jobs, key=lambda job: (-priorities[jobs.index(job)], job))


@_FEW
@given(priorities=st.lists(st.integers(0, 9), min_size=12, max_size=12), batch=st.integers(1, 5))
async def test_a_tenant_gains_nothing_by_priorities(store: Store, priorities: list[int], batch: int) -> None:
    await _empty(store)
    plain, pushy = await store.tenant(), await store.tenant()
    for priority in priorities:
        await store.add(plain, priority=0)
        await store.add(pushy, priority=priority)
    worker = await store.process()
    served: Counter[UUID] = Counter()
    while rows := await worker.claim(batch):
        served.update(row.tenant_id for row in rows)
        assert abs(served[plain] - served[pushy]) <= 1
    assert served == {plain: 12, pushy: 12}


@_FEW
@given(
    arrivals=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=5, max_size=40),
    batch=st.integers(1, 4),
    cancelled=st.sets(st.integers(0, 39), max_size=5),
)
async def test_with_a_backlog_everybody_gets_the_same_share(
    store: Store, arrivals: list[tuple[int, int]], batch: int, cancelled: set[int]
) -> None:
    """Whatever order jobs came in, whatever their priorities, and whatever was cancelled meanwhile."""
    await _empty(store)
    tenants = [await store.tenant() for _ in range(3)]
    jobs = [await store.add(tenants[who], priority=priority) for who, priority in arrivals]
    gone = [n for n in cancelled if n < len(jobs)]
    for n in gone:
        await store.cancel(tenants[arrivals[n][0]], jobs[n])
    left = Counter(tenants[who] for n, (who, _) in enumerate(arrivals) if n not in gone)
    cancels = Counter(tenants[arrivals[n][0]] for n in gone)
    served: Counter[UUID] = Counter()
    worker = await store.process()
    while rows := await worker.claim(batch):
        served.update(row.tenant_id for row in rows)
        waiting = [tenant for tenant in tenants if served[tenant] < left[tenant]]
        for one in waiting:
            for other in tenants:
                # A cancelled job takes its tenant's turn with it, nobody else's.
                assert served[other] - served[one] <= 1 + cancels[one]
    assert +served == +left


async def test_lanes_have_clocks_of_their_own(store: Store) -> None:
    first, second = await store.tenant(), await store.tenant()
    worker = await store.process()
    await store.accept(*(new_job(first, lane="bulk") for _ in range(50)))
    await store.accept(*(new_job(first), *(new_job(second) for _ in range(3))))
    served = [row.tenant_id for _ in range(4) for row in await worker.claim(1, lane="default")]
    assert first in served[:2]


async def test_a_retry_gets_the_next_turn_of_its_tenant(store: Store) -> None:
    first, second = await store.tenant(), await store.tenant()
    worker = await store.process()
    again = await store.add(first)
    rows = await worker.claim()
    await store.accept(*(new_job(second) for _ in range(10)))
    await worker.retry(*rows)
    served = [row.id for _ in range(2) for row in await worker.claim(1)]
    assert again in served


async def test_the_position_in_the_queue_counts_turns_and_not_tags(store: Store) -> None:
    first, second = await store.tenant(), await store.tenant()
    slow = await store.add(first, priority=0)
    await store.accept(*(new_job(second) for _ in range(5)))
    urgent = await store.add(first, priority=9)

    async def position(job: UUID) -> int:
        return int(await store.value("SELECT queue_position(:job, 1000)", job=job))

    assert await position(urgent) <= 2
    assert 3 <= await position(slow) <= 4
    worker = await store.process()
    order = [row.id for _ in range(7) for row in await worker.claim(1)]
    assert abs(order.index(slow) + 1 - 3) <= 1
    assert await store.value("SELECT queue_position(:job, 1000)", job=slow) is None


async def test_positions_are_counted_to_a_limit(store: Store) -> None:
    tenant = await store.tenant()
    jobs = await store.accept(*(new_job(tenant) for _ in range(30)))
    assert await store.value("SELECT queue_position(:job, 10)", job=jobs[-1]) == 10
    assert await store.value("SELECT queue_position(:job, 10)", job=jobs[4]) == 5
