"""Claiming: who gets what, and never twice."""

import asyncio
from collections import Counter

import pytest

from core.lifecycle import Status
from tests.support.store import Store, chat_body, new_job


async def test_a_claim_starts_the_job(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant, priority=7, timeout_s=30)
    worker = await store.process()

    [claimed] = await worker.claim()

    assert (claimed.id, claimed.tenant_id, claimed.attempts, claimed.lease_no) == (job, tenant, 1, 1)
    assert claimed.body == chat_body("sim/fast")
    row = await store.job(job)
    assert (row.status, row.attempts, row.lease_no, row.version) == (Status.RUNNING, 1, 1, 2)
    assert row.started_at is not None
    assert await store.places(job) == ["running"]
    assert await store.events(job) == [(2, "job.started")]
    assert await worker.renew() == {job: 1}


async def test_an_empty_lane_gives_nothing(store: Store) -> None:
    await store.add(await store.tenant(), lane="bulk")
    worker = await store.process()
    assert await worker.claim(lane="default", models={"sim/fast": 5}) == []


async def test_two_claimers_never_get_the_same_job(store: Store) -> None:
    tenants = [await store.tenant() for _ in range(3)]
    jobs = await store.accept(*(new_job(tenant, priority=n % 10) for tenant in tenants for n in range(100)))
    workers = [await store.process() for _ in range(4)]

    async def drain(number: int) -> list[object]:
        got: list[object] = []
        while rows := await workers[number].claim(7):
            got += [row.id for row in rows]
        return got

    shares = await asyncio.gather(*(drain(number) for number in range(4)))
    # SKIP LOCKED may show an empty queue to one claimer while another still holds rows of it: look once more.
    shares.append(await drain(0))
    counted = Counter(job for share in shares for job in share)
    assert set(counted) == set(jobs)
    assert set(counted.values()) == {1}
    assert await store.value("SELECT count(*) FROM running") == 300
    assert await store.value("SELECT max(attempts) FROM jobs") == 1
    assert await store.value("SELECT count(*) FROM ready") == 0


async def test_a_claim_takes_no_more_of_a_model_than_it_has_free_slots(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant, model=model) for model in ("sim/a", "sim/b", "sim/c") for _ in range(10)))
    worker = await store.process()
    claimed = await worker.claim(100, models={"sim/a": 3, "sim/b": 5})
    assert Counter(row.model for row in claimed) == {"sim/a": 3, "sim/b": 5}


async def test_a_saturated_model_does_not_hold_up_the_jobs_of_another(store: Store) -> None:
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant, model="sim/busy") for _ in range(200)))
    late = await store.add(tenant, model="sim/idle")
    worker = await store.process()
    assert [row.id for row in await worker.claim(10, models={"sim/idle": 4})] == [late]


async def test_a_claim_takes_no_more_bytes_than_there_is_room_but_always_one_job(store: Store) -> None:
    tenant = await store.tenant()
    body = chat_body("sim/fast", "x" * 1000)
    await store.accept(*(new_job(tenant, body=body) for _ in range(5)))
    worker = await store.process()
    assert len(await worker.claim(body_bytes=2 * len(body) + 10)) == 2
    assert len(await worker.claim(body_bytes=1)) == 1
    assert len(await worker.claim()) == 2


async def test_what_a_claim_had_no_room_for_stays_visible_and_cancellable(store: Store) -> None:
    tenant = await store.tenant()
    jobs = await store.accept(*(new_job(tenant) for _ in range(3)))
    worker = await store.process()
    await worker.claim(1)
    assert await store.places(jobs[2]) == ["ready"]
    await store.cancel(tenant, jobs[2])
    assert [row.id for row in await worker.claim()] == [jobs[1]]


async def test_a_job_whose_time_ran_out_is_not_claimed(store: Store) -> None:
    tenant = await store.tenant()
    late, good = await store.accept(new_job(tenant), new_job(tenant))
    await store.make_late(late)
    worker = await store.process()
    assert [row.id for row in await worker.claim()] == [good]
    assert await store.status(late) is Status.QUEUED


@pytest.mark.parametrize("most", [0, -1])
async def test_no_room_is_no_claim(store: Store, most: int) -> None:
    await store.add(await store.tenant())
    worker = await store.process()
    assert await worker.claim(most, models={"sim/fast": 5}) == []


async def test_full_tenants_are_passed_over(store: Store) -> None:
    greedy, modest = await store.tenant(), await store.tenant()
    await store.accept(*(new_job(greedy) for _ in range(20)))
    mine = await store.accept(*(new_job(modest) for _ in range(2)))
    worker = await store.process()
    claimed = await worker.claim(10, full_tenants=frozenset({greedy}))
    assert [row.id for row in claimed] == mine


async def test_passing_over_full_tenants_keeps_the_order_of_a_tenants_own_jobs(store: Store) -> None:
    greedy, modest = await store.tenant(), await store.tenant()
    await store.accept(*(new_job(greedy) for _ in range(3)))
    jobs = await store.accept(*(new_job(modest, priority=priority) for priority in (1, 9, 5, 9)))
    worker = await store.process()
    order = []
    for _ in jobs:
        order += [row.id for row in await worker.claim(1, full_tenants=frozenset({greedy}))]
    assert order == [jobs[1], jobs[3], jobs[2], jobs[0]]
