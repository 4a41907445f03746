"""Concurrency keys: no more of a key's jobs in the queue than its limit, and none of them lost or forgotten."""

import asyncio
import random
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from core import ids
from core.lifecycle import Status
from core.store.accept import NewJob
from core.store.bulk import accept_group
from core.store.committer import Committer
from core.store.forgotten import forget_keys, let_in_forgotten
from core.store.moves import cancel_group, delete_job, resubmit
from core.store.work import Finish, Requeue, expire_late, glance, let_in_due, lose_orphans
from tests.support.store import PUBLIC_URL, RESULT, Process, Store, new_job
from tests.support.waiting import eventually

_FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def keyed(tenant: UUID, key: str = "k", limit: int = 1, **fields: object) -> NewJob:
    return new_job(tenant, concurrency_key=key, concurrency_limit=limit, **fields)  # type: ignore[arg-type]


async def active(store: Store, key: str = "k") -> int:
    """How many jobs of a key are ready or running."""
    tables = " UNION ALL ".join(f"SELECT concurrency_key AS key FROM {name}" for name in ("ready", "running"))
    return int(await store.value(f"SELECT count(*) FROM ({tables}) AS a WHERE key = :key", key=key))


async def held(store: Store) -> int:
    return int(await store.value("SELECT count(*) FROM held_back"))


async def places(store: Store, jobs: list[UUID]) -> list[str]:
    return [place for job in jobs for place in await store.places(job)]


class TestEntering:
    async def test_jobs_beyond_the_limit_are_held_back(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(*(keyed(tenant, limit=2) for _ in range(5)))
        assert await places(store, jobs) == ["ready"] * 2 + ["held_back"] * 3
        assert await store.statuses() == {"queued": 5}

    async def test_jobs_without_a_key_pass_by(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(keyed(tenant), keyed(tenant), new_job(tenant))
        assert await places(store, jobs) == ["ready", "held_back", "ready"]

    async def test_keys_of_the_same_name_are_each_tenants_own(self, store: Store) -> None:
        first, second = await store.tenant(), await store.tenant()
        jobs = await store.accept(keyed(first), keyed(second), keyed(first), keyed(second))
        assert await places(store, jobs) == ["ready", "ready", "held_back", "held_back"]

    async def test_the_most_urgent_are_let_in_first(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(*(keyed(tenant, priority=priority) for priority in (3, 7, 5)))
        assert await places(store, jobs) == ["held_back", "ready", "held_back"]

    async def test_the_newest_job_names_the_limit(self, store: Store) -> None:
        tenant = await store.tenant()
        await store.accept(*(keyed(tenant, limit=1) for _ in range(5)))
        assert await active(store) == 1
        await store.accept(keyed(tenant, limit=3))
        assert await active(store) == 3
        await store.accept(keyed(tenant, limit=2))
        assert await active(store) == 3
        worker = await store.process()
        [first, *_] = await worker.claim()
        await worker.succeed(first)
        assert await active(store) == 2

    async def test_an_older_job_that_comes_out_of_a_pause_does_not_bring_its_limit_back(self, store: Store) -> None:
        tenant = await store.tenant()
        await store.add(tenant, concurrency_key="k", concurrency_limit=5)
        worker = await store.process()
        await worker.retry(*await worker.claim(), delay_s=60)
        await store.accept(keyed(tenant, limit=1), keyed(tenant, limit=1))
        await store.make_due()
        assert await let_in_due(store.worker) == {"default": 1}
        assert (await active(store), await held(store)) == (1, 2)

    async def test_a_group_is_held_back_like_single_jobs(self, store: Store) -> None:
        tenant = await store.tenant()
        group = ids.new_id()
        lanes = ("bulk", "default", "interactive")
        rows = [keyed(tenant, limit=7, group_id=group, lane=lanes[n % 3]) for n in range(1100)]
        rows += [new_job(tenant, group_id=group, lane=lanes[n % 3]) for n in range(100)]
        await accept_group(store.api, tenant, group, rows)
        assert (await active(store), await held(store)) == (7, 1093)
        assert await store.value("SELECT count(*) FROM ready") == 107

    async def test_a_committer_stores_both_kinds_side_by_side(self, store: Store) -> None:
        tenant = await store.tenant()
        committer = Committer(store.api)
        committer.start()
        jobs = [keyed(tenant, limit=3) if n % 2 else new_job(tenant) for n in range(40)]
        accepted = await asyncio.gather(*(committer.submit(job) for job in jobs))
        await committer.stop()
        assert all(outcome.created_at is not None for outcome in accepted)
        assert (await active(store), await held(store)) == (3, 17)
        assert await store.value("SELECT count(*) FROM ready WHERE concurrency_key IS NULL") == 20


class TestLeaving:
    async def test_each_end_lets_the_next_one_in(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(*(keyed(tenant) for _ in range(4)))
        worker = await store.process()
        [claimed] = await worker.claim()
        committed = await worker.succeed(claimed)
        assert (committed.finished, committed.lanes) == ([jobs[0]], {"default"})
        assert await store.places(jobs[1]) == ["ready"]
        await worker.fail(*await worker.claim())
        assert await store.places(jobs[2]) == ["ready"]
        cancelled = await store.cancel(tenant, jobs[2])
        assert cancelled.ended.lanes == {"default"}
        assert await store.places(jobs[3]) == ["ready"]
        await store.make_late(jobs[3])
        last = await store.add(tenant, concurrency_key="k", concurrency_limit=1)
        assert (await expire_late(store.worker, PUBLIC_URL)).lanes == {"default"}
        assert await store.places(last) == ["ready"]
        assert await held(store) == 0

    async def test_plain_and_keyed_jobs_end_in_one_commit(self, store: Store) -> None:
        tenant = await store.tenant()
        await store.accept(keyed(tenant), keyed(tenant), new_job(tenant), new_job(tenant))
        worker = await store.process()
        claimed = await worker.claim()
        assert len(claimed) == 3
        committed = await worker.succeed(*claimed)
        assert set(committed.finished) == {row.id for row in claimed}
        assert (await active(store), await held(store)) == (1, 0)

    async def test_a_retry_after_a_pause_gives_its_place_away_and_waits_for_one_again(self, store: Store) -> None:
        tenant = await store.tenant()
        first, second = await store.accept(keyed(tenant), keyed(tenant))
        worker = await store.process()
        await worker.retry(*await worker.claim(), delay_s=60)
        assert (await store.places(first), await store.places(second)) == (["waiting"], ["ready"])
        await store.make_due()
        await let_in_due(store.worker)
        assert await store.places(first) == ["held_back"]
        await worker.succeed(*await worker.claim())
        assert await store.places(first) == ["ready"]
        assert await store.value("SELECT expires_at FROM ready") is None

    async def test_a_retry_at_once_stands_at_the_head_of_its_key(self, store: Store) -> None:
        tenant = await store.tenant()
        first, second = await store.accept(keyed(tenant), keyed(tenant))
        worker = await store.process()
        await worker.retry(*await worker.claim())
        assert (await store.places(first), await store.places(second)) == (["ready"], ["held_back"])

    async def test_the_jobs_of_a_dead_process_keep_to_the_limit(self, store: Store) -> None:
        tenant = await store.tenant()
        first, second = await store.accept(keyed(tenant, max_attempts=1), keyed(tenant))
        for job, state in ((first, Status.FAILED), (second, Status.QUEUED)):
            worker = await store.process()
            [claimed] = await worker.claim()
            assert claimed.id == job
            await worker.die()
            _, lanes, _ = await lose_orphans(store.worker, PUBLIC_URL)
            assert lanes == {"default"}
            assert await store.status(job) is state
            assert await active(store) == 1

    async def test_a_job_queued_again_waits_for_its_place(self, store: Store) -> None:
        tenant = await store.tenant()
        first, second = await store.accept(keyed(tenant), keyed(tenant))
        worker = await store.process()
        await worker.fail(*await worker.claim())
        assert await resubmit(store.api, tenant, first, PUBLIC_URL) == "default"
        assert (await store.places(first), await store.places(second)) == (["held_back"], ["ready"])

    async def test_a_lost_lease_frees_no_place_twice(self, store: Store) -> None:
        tenant = await store.tenant()
        await store.accept(*(keyed(tenant) for _ in range(3)))
        frozen = await store.process()
        [claimed] = await frozen.claim()
        await frozen.die()
        await lose_orphans(store.worker, PUBLIC_URL)
        await frozen.succeed(claimed)
        await frozen.retry(claimed, delay_s=5)
        assert (await active(store), await held(store)) == (1, 2)


class TestHeldBack:
    async def test_a_held_back_job_can_be_cancelled_and_deleted(self, store: Store) -> None:
        tenant = await store.tenant()
        _, job = await store.accept(keyed(tenant), keyed(tenant))
        cancelled = await store.cancel(tenant, job)
        assert (cancelled.ended.jobs, cancelled.running, await store.places(job)) == ([job], [], [])
        assert await active(store) == 1
        assert await delete_job(store.api, tenant, job)

    async def test_a_job_that_is_let_in_while_it_is_cancelled_leaves_nothing_behind(self, store: Store) -> None:
        tenant = await store.tenant()
        _, job = await store.accept(keyed(tenant), keyed(tenant))
        async with store.owner.begin() as connection:
            await connection.execute(text("DELETE FROM held_back"))
            await connection.execute(
                text(
                    "INSERT INTO ready (job_id, tenant_id, concurrency_key, lane, model, tag, priority, body_bytes) "
                    "VALUES (:job, :tenant, 'k', 'default', 'sim/fast', 9, 5, 2)"
                ),
                {"job": job, "tenant": tenant},
            )
            cancelling = asyncio.create_task(store.cancel(tenant, job))
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            await eventually(lambda: store.value(waits))
        assert (await cancelling).ended.jobs == [job]
        assert (await store.places(job), await store.status(job)) == ([], Status.CANCELLED)

    async def test_a_group_with_held_back_jobs_can_be_cancelled(self, store: Store) -> None:
        tenant = await store.tenant()
        group = ids.new_id()
        other = keyed(tenant)
        await accept_group(store.api, tenant, group, [keyed(tenant, group_id=group) for _ in range(5)])
        await store.accept(other)
        worker = await store.process()
        await worker.claim()
        cancelled = await cancel_group(store.api, tenant, group, PUBLIC_URL)
        assert cancelled is not None
        assert len(cancelled.ended.jobs) == 5
        assert await store.places(other.id) == ["ready"]

    async def test_the_sweep_ends_held_back_jobs_that_are_late(self, store: Store) -> None:
        tenant = await store.tenant()
        _, job = await store.accept(keyed(tenant), keyed(tenant))
        await store.make_late(job)
        assert (await glance(store.worker, [])).late
        assert (await expire_late(store.worker, PUBLIC_URL)).jobs == [job]
        assert (await store.places(job), await store.status(job)) == ([], Status.EXPIRED)
        assert not (await glance(store.worker, [])).late

    async def test_its_position_counts_the_jobs_of_its_key_before_it(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(*(keyed(tenant, limit=2, priority=p) for p in (9, 9, 5, 7)))
        positions = [await store.value("SELECT queue_position(:job, 1000)", job=job) for job in jobs]
        assert positions == [1, 2, 4, 3]
        assert await store.value("SELECT queue_position(:job, 3)", job=jobs[2]) == 3

    async def test_what_was_forgotten_is_let_in_by_the_upkeep(self, store: Store) -> None:
        """A cancel that is broken off while its job's turn comes leaves the place empty, and no commit of the key may follow."""
        tenant, other = await store.tenant(), await store.tenant()
        await store.accept(*(keyed(tenant, limit=3) for _ in range(4)), keyed(other), keyed(other))
        await store.sql("DELETE FROM ready WHERE tenant_id = :tenant", tenant=tenant)
        assert await let_in_forgotten(store.worker) == {"default": 1}
        assert await let_in_forgotten(store.worker) == {}
        assert (await active(store), await held(store)) == (2, 1)

    async def test_keys_nobody_used_for_long_are_forgotten(self, store: Store) -> None:
        tenant = await store.tenant()
        await store.accept(keyed(tenant, "busy"), keyed(tenant, "busy"), keyed(tenant, "idle"))
        worker = await store.process()
        rows = await worker.claim()
        await worker.succeed(*(row for row in rows if row.concurrency_key == "idle"))
        await store.sql("UPDATE concurrency_keys SET used_at = now() - interval '2 d'")
        assert await forget_keys(store.worker) == 1
        assert [row.key for row in await store.rows("SELECT key FROM concurrency_keys")] == ["busy"]
        await worker.succeed(*(row for row in rows if row.concurrency_key == "busy"))
        assert await held(store) == 0


async def test_a_hand_back_for_want_of_a_deployment_waits_and_burns_no_attempt(store: Store) -> None:
    tenant = await store.tenant()
    first, second = await store.accept(keyed(tenant, max_attempts=1), keyed(tenant))
    worker = await store.process()
    [row] = await worker.claim()
    back = Requeue(row.id, row.lease_no, "handed_back", "no_deployment", row.event_seq, delay_s=30)
    assert (await worker.commit([], [back])).requeued == [first]
    job = await store.job(first)
    assert (job.status, job.attempts, await store.places(first)) == (Status.QUEUED, 0, ["waiting"])
    assert await store.places(second) == ["ready"]
    assert (await store.events(first))[-1][1] == "job.retrying"


@_FEW
@given(
    jobs=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
)
async def test_whatever_happens_no_key_exceeds_its_limit_and_every_job_ends(
    store: Store, jobs: list[tuple[int, int, int]], seed: int
) -> None:
    await store.sql("TRUNCATE jobs, attempts, job_events, ready, waiting, held_back, running, concurrency_keys")
    tenant = await store.tenant()
    limits = {key: max(limit for k, limit, _ in jobs if k == key) for key, _, _ in jobs}
    rows = [keyed(tenant, str(key), limits[key], priority=priority, max_attempts=20) for key, _, priority in jobs]
    pick = random.Random(seed)
    workers = [await store.process() for _ in range(2)]
    todo = list(rows)
    while todo or await store.value("SELECT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)"):
        if todo:
            number = pick.randint(1, 8)
            await store.accept(*todo[:number])
            todo = todo[number:]
        await _something(store, tenant, workers, pick)
        for key, limit in limits.items():
            count, behind = await active(store, str(key)), await _behind(store, str(key))
            assert count <= limit
            assert count == limit or behind == 0
    assert (await held(store), await active(store)) == (0, 0)


async def _behind(store: Store, key: str) -> int:
    return int(await store.value("SELECT count(*) FROM held_back WHERE concurrency_key = :key", key=key))


async def _something(store: Store, tenant: UUID, workers: list[Process], pick: random.Random) -> None:
    number = pick.randrange(2)
    worker = workers[number]
    rows = list(await worker.claim(pick.randint(1, 5)))
    pick.shuffle(rows)
    match pick.randrange(6):
        case 0:
            await worker.die()
            await lose_orphans(store.worker, PUBLIC_URL)
            workers[number] = await store.process()
        case 1:
            await worker.retry(*rows, delay_s=pick.choice((0, 60)))
        case 2:
            await worker.hand_back(*rows)
            await store.cancel(tenant, *(row.id for row in rows[:2]))
        case _:
            await worker.succeed(*rows)
    await store.make_due()
    await let_in_due(store.worker)
    for orphan in await store.rows("SELECT job_id FROM running WHERE process_id = :id", id=workers[number].id):
        await store.cancel(tenant, orphan.job_id)


class Crowd:
    """Everybody at once, with the same few keys and lanes, in orders of their own."""

    lanes = ("bulk", "default", "interactive")

    def __init__(self, store: Store, tenants: list[UUID], workers: list[Process]) -> None:
        self.store = store
        self.tenants = tenants
        self.workers = workers
        self.pick = random.Random(7)

    def jobs(self, number: int) -> list[NewJob]:
        pick, tenants = self.pick, self.tenants
        rows = [keyed(tenants[n % 2], f"k{pick.randrange(4)}", 3, lane=pick.choice(self.lanes)) for n in range(number)]
        return rows + [new_job(tenants[n % 2], lane=pick.choice(self.lanes)) for n in range(number // 3)]

    async def submit(self) -> None:
        for _ in range(12):
            await self.store.accept(*self.jobs(9))

    async def bulk(self, tenant: UUID) -> None:
        for _ in range(3):
            group = ids.new_id()
            rows = [row for row in self.jobs(30) if row.tenant_id == tenant]
            for row in rows:
                row.group_id = group
            await accept_group(self.store.api, tenant, group, rows)

    async def work(self, worker: Process) -> None:
        for _ in range(40):
            for lane in self.lanes:
                rows = list(await worker.claim(6, lane=lane))
                self.pick.shuffle(rows)
                half = len(rows) // 2
                ends = [Finish(row.id, row.lease_no, "succeeded", row.event_seq, result=RESULT) for row in rows[half:]]
                back = [Requeue(row.id, row.lease_no, "retried", "rate_limited", row.event_seq) for row in rows[:half]]
                await worker.commit(ends, back)

    async def cancel(self) -> None:
        for _ in range(15):
            rows = await self.store.rows("SELECT id, tenant_id FROM jobs WHERE finished_at IS NULL")
            for tenant in self.tenants:
                mine = [row.id for row in rows if row.tenant_id == tenant]
                await self.store.cancel(tenant, *self.pick.sample(mine, min(4, len(mine))))

    async def expire(self) -> None:
        for _ in range(15):
            rows = await self.store.rows("SELECT id FROM jobs WHERE finished_at IS NULL AND started_at IS NULL")
            await self.store.make_late(*self.pick.sample([row.id for row in rows], min(2, len(rows))))
            await expire_late(self.store.worker, PUBLIC_URL)

    async def drain(self) -> None:
        while await self.store.value("SELECT count(*) FROM ready"):
            for lane in self.lanes:
                await self.workers[0].succeed(*await self.workers[0].claim(lane=lane))


async def test_commits_of_all_kinds_with_the_same_keys_never_deadlock(store: Store) -> None:
    crowd = Crowd(store, [await store.tenant() for _ in range(2)], [await store.process() for _ in range(3)])
    await asyncio.gather(
        crowd.submit(), crowd.submit(), *(crowd.bulk(tenant) for tenant in crowd.tenants),
        *(crowd.work(worker) for worker in crowd.workers), crowd.cancel(), crowd.expire(),
    )  # fmt: skip
    assert await _deadlocks(store) == 0
    await crowd.drain()
    assert set(await store.statuses()) <= {"succeeded", "cancelled", "expired"}
    assert await held(store) == 0


async def _deadlocks(store: Store) -> int:
    """What Postgres counted in this database; its backends tell when they end."""
    for engine in (store.api, store.worker):
        await engine.dispose()
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name NOT LIKE '%owner'"
    await eventually(lambda: store.value(f"SELECT ({others}) = 0"))
    return int(await store.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
