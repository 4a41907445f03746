"""Groups: all or nothing at the start, and exactly one last job at the end."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError

from core import ids
from core.store.accept import Accepted
from core.store.bulk import accept_group
from core.store.moves import cancel_group, resubmit
from core.store.reading import read_group
from core.store.work import expire_late
from tests.support.store import PUBLIC_URL, Store, new_job


async def add_group(store: Store, tenant: UUID, jobs: int, **fields: object) -> tuple[UUID, list[UUID]]:
    group = ids.new_id()
    rows = [new_job(tenant, group_id=group, **fields) for _ in range(jobs)]  # type: ignore[arg-type]
    await accept_group(store.api, tenant, group, rows)
    return group, [row.id for row in rows]


async def add_receiver(store: Store, tenant: UUID) -> None:
    await store.sql(
        "INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret_encrypted, secret_hint) "
        "VALUES (:id, :tenant, 'all', 'https://receiver.test', '{group.completed}', '', '')",
        id=ids.new_id(),
        tenant=tenant,
    )


async def completions(store: Store) -> int:
    return int(await store.value("SELECT count(*) FROM webhook_events WHERE type = 'group.completed'"))


async def remaining(store: Store, group: UUID) -> int:
    return int(await store.value("SELECT remaining FROM groups WHERE id = :id", id=group))


async def test_a_group_is_accepted_with_all_its_jobs(store: Store) -> None:
    tenant = await store.tenant()
    group, _ = await add_group(store, tenant, 1203)
    row = await read_group(store.api, tenant, group)
    assert row is not None
    assert (row["total"], row["remaining"], row["finished_at"]) == (1203, 1203, None)
    assert await store.value("SELECT count(*) FROM ready") == 1203


async def test_one_bad_row_keeps_the_whole_group_out(store: Store) -> None:
    tenant = await store.tenant()
    group = ids.new_id()
    jobs = [new_job(tenant, group_id=group, priority=77 if n == 600 else 5) for n in range(700)]
    with pytest.raises(DBAPIError):
        await accept_group(store.api, tenant, group, jobs)
    for table in ("jobs", "groups", "ready"):
        assert await store.value(f"SELECT count(*) FROM {table}") == 0


async def test_the_key_of_a_group_leads_to_the_first_one(store: Store) -> None:
    tenant = await store.tenant()
    first, second = ids.new_id(), ids.new_id()

    async def post(group: UUID, fingerprint: bytes) -> Accepted:
        jobs = [new_job(tenant, group_id=group)]
        return await accept_group(store.api, tenant, group, jobs, idempotency_key="k", fingerprint=fingerprint)

    assert (await post(first, b"one")).created_at is not None
    assert await post(second, b"one") == Accepted(original=first)
    assert await post(second, b"two") == Accepted(conflict=True)
    assert await store.value("SELECT count(*) FROM jobs") == 1


async def test_the_last_job_completes_the_group_once(store: Store) -> None:
    tenant = await store.tenant()
    await add_receiver(store, tenant)
    group, jobs = await add_group(store, tenant, 3)
    worker = await store.process()
    claimed = await worker.claim()
    await worker.succeed(claimed[0])
    await worker.fail(claimed[1])
    assert (await remaining(store, group), await completions(store)) == (1, 0)
    await store.cancel(tenant, jobs[2])
    row = await read_group(store.api, tenant, group)
    assert row is not None
    assert row["remaining"] == 0
    assert row["finished_at"] is not None
    assert row["cancelled_at"] is None
    assert await completions(store) == 1


async def test_an_expired_job_counts_down_too(store: Store) -> None:
    tenant = await store.tenant()
    group, jobs = await add_group(store, tenant, 2)
    await store.make_late(*jobs)
    await expire_late(store.worker, PUBLIC_URL)
    assert await remaining(store, group) == 0


async def test_however_many_finish_at_once_exactly_one_commit_sees_the_end(store: Store) -> None:
    tenant = await store.tenant()
    await add_receiver(store, tenant)
    group, jobs = await add_group(store, tenant, 60)
    workers = [await store.process() for _ in range(3)]

    async def work(number: int) -> None:
        while rows := await workers[number].claim(5):
            await (workers[number].succeed if number else workers[number].fail)(*rows)

    async def cancel() -> None:
        for job in jobs[::7]:
            await store.cancel(tenant, job)

    await asyncio.gather(work(0), work(1), work(2), cancel())
    await work(0)
    assert await remaining(store, group) == 0
    assert await completions(store) == 1


async def test_two_groups_in_one_commit_are_both_counted(store: Store) -> None:
    tenant = await store.tenant()
    first, _ = await add_group(store, tenant, 2)
    second, _ = await add_group(store, tenant, 3)
    worker = await store.process()
    await worker.succeed(*await worker.claim())
    assert [await remaining(store, group) for group in (first, second)] == [0, 0]


async def test_commits_that_end_jobs_of_the_same_groups_crosswise_never_deadlock(store: Store) -> None:
    tenant = await store.tenant()
    groups = [(await add_group(store, tenant, 20))[0] for _ in range(3)]
    workers = [await store.process() for _ in range(2)]
    halves = [await worker.claim(30) for worker in workers]
    for start in range(0, 30, 6):
        await asyncio.gather(
            workers[0].succeed(*halves[0][start : start + 6]),
            workers[1].succeed(*reversed(halves[1][start : start + 6])),
        )
    assert [await remaining(store, group) for group in groups] == [0, 0, 0]


async def test_cancelling_a_group_ends_what_has_not_ended(store: Store) -> None:
    tenant = await store.tenant()
    await add_receiver(store, tenant)
    group, _ = await add_group(store, tenant, 5)
    worker = await store.process()
    claimed = await worker.claim(2)
    await worker.succeed(claimed[0])
    cancelled = await cancel_group(store.api, tenant, group, PUBLIC_URL)
    assert cancelled is not None
    assert len(cancelled.ended.jobs) == 4
    assert cancelled.running == [claimed[1].id]
    assert await store.statuses() == {"succeeded": 1, "cancelled": 4}
    row = await read_group(store.api, tenant, group)
    assert row is not None
    assert row["remaining"] == 0
    assert row["cancelled_at"] is not None
    assert row["finished_at"] is not None
    assert await completions(store) == 1
    again = await cancel_group(store.api, tenant, group, PUBLIC_URL)
    assert again is not None
    assert again.ended.jobs == []
    assert await completions(store) == 1


async def test_cancelling_a_completed_group_changes_nothing(store: Store) -> None:
    tenant = await store.tenant()
    group, _ = await add_group(store, tenant, 2)
    worker = await store.process()
    await worker.succeed(*await worker.claim())
    await cancel_group(store.api, tenant, group, PUBLIC_URL)
    row = await read_group(store.api, tenant, group)
    assert row is not None
    assert row["cancelled_at"] is None


async def test_another_tenants_group_is_not_there(store: Store) -> None:
    group, _ = await add_group(store, await store.tenant(), 2)
    other = await store.tenant()
    assert await read_group(store.api, other, group) is None
    assert await cancel_group(store.api, other, group, PUBLIC_URL) is None
    assert await store.statuses() == {"queued": 2}


async def test_a_job_queued_again_reopens_its_group(store: Store) -> None:
    tenant = await store.tenant()
    await add_receiver(store, tenant)
    group, jobs = await add_group(store, tenant, 2)
    worker = await store.process()
    await worker.fail(*await worker.claim())
    assert await resubmit(store.api, tenant, jobs[0], PUBLIC_URL)
    row = await read_group(store.api, tenant, group)
    assert row is not None
    assert (row["remaining"], row["finished_at"]) == (1, None)
    await worker.succeed(*await worker.claim())
    assert await remaining(store, group) == 0
    assert await completions(store) == 2


async def test_the_counts_of_a_group_tell_where_its_jobs_stand(store: Store) -> None:
    tenant = await store.tenant()
    group, _ = await add_group(store, tenant, 4)
    worker = await store.process()
    claimed = await worker.claim(2)
    await worker.fail(claimed[0])
    row = await read_group(store.api, tenant, group)
    assert row is not None
    assert '"queued" : 2' in row["counts"]
    assert '"running" : 1' in row["counts"]
    assert '"failed" : 1' in row["counts"]
