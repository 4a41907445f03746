"""The moves that workers make: finish, send back, lose, let in, expire."""

import asyncio

import orjson
import pytest
from sqlalchemy.exc import DBAPIError

from core.lifecycle import Status
from core.store.reading import read_attempts
from core.store.work import Finish, Requeue, abandon, expire_late, glance, let_in_due, lose_orphans
from tests.support.store import PUBLIC_URL, RESULT, Store, new_job


class TestFinish:
    async def test_a_result_ends_the_job(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        worker = await store.process()
        [claimed] = await worker.claim()
        committed = await worker.succeed(claimed)
        row = await store.job(job)
        assert committed.finished == [job]
        assert (row.status, row.result, row.error, row.version) == (Status.SUCCEEDED, RESULT, None, 3)
        assert row.finished_at is not None
        assert await store.places(job) == []
        assert await store.outcomes(job) == ["succeeded"]
        assert await store.events(job) == [(2, "job.started"), (3, "job.succeeded")]

    async def test_a_failure_ends_the_job(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        worker = await store.process()
        await worker.fail(*await worker.claim())
        row = await store.job(job)
        assert (row.status, row.result) == (Status.FAILED, None)
        assert orjson.loads(row.error)["code"] == "upstream_error"
        assert await store.outcomes(job) == ["failed"]

    async def test_a_lost_lease_cannot_finish_the_job(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        frozen, other = await store.process(), await store.process()
        [early] = await frozen.claim()
        await frozen.die()
        await lose_orphans(store.worker, PUBLIC_URL)
        [late] = await other.claim()
        assert (late.lease_no, late.attempts) == (2, 2)

        assert (await frozen.succeed(early)).finished == []
        assert await store.status(job) is Status.RUNNING
        assert (await other.succeed(late, result='{"by":"other"}')).finished == [job]
        assert (await frozen.succeed(early)).finished == []
        assert (await store.job(job)).result == '{"by":"other"}'
        assert await store.outcomes(job) == ["lost", "succeeded"]

    async def test_a_lease_lost_before_a_hand_back_stays_lost(self, store: Store) -> None:
        """The attempt counter goes back on a hand-back, the lease number doesn't: or the first worker would match again."""
        job = await store.add(await store.tenant())
        frozen, polite, last = [await store.process() for _ in range(3)]
        [first] = await frozen.claim()
        await frozen.die()
        await lose_orphans(store.worker, PUBLIC_URL)
        [second] = await polite.claim()
        await polite.hand_back(second)
        [third] = await last.claim()
        assert (third.lease_no, third.attempts) == (3, 2)
        for stale, process in ((first, frozen), (second, polite)):
            assert (await process.succeed(stale)).finished == []
            assert (await process.retry(stale)).requeued == []
        assert (await last.succeed(third)).finished == [job]

    async def test_finishing_twice_stores_once(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        worker = await store.process()
        [claimed] = await worker.claim()
        both = await asyncio.gather(
            worker.succeed(claimed, result='{"n":1}'), worker.succeed(claimed, result='{"n":2}')
        )
        assert sorted(len(done.finished) for done in both) == [0, 1]
        assert await store.outcomes(job) == ["succeeded"]
        assert (await store.job(job)).version == 3

    async def test_a_commit_keeps_what_is_still_ours_and_drops_the_rest(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(*(new_job(tenant) for _ in range(4)))
        worker = await store.process()
        claimed = await worker.claim()
        await store.cancel(tenant, jobs[1])
        committed = await worker.commit(
            [Finish(row.id, row.lease_no, "succeeded", row.event_seq, result=RESULT) for row in claimed[:3]],
            [Requeue(claimed[3].id, claimed[3].lease_no, "retried", "upstream_error", claimed[3].event_seq)],
        )
        assert set(committed.finished) == {jobs[0], jobs[2]}
        assert committed.requeued == [jobs[3]]
        assert await store.status(jobs[1]) is Status.CANCELLED

    async def test_a_result_that_is_no_json_fails_the_commit(self, store: Store) -> None:
        await store.add(await store.tenant())
        worker = await store.process()
        [claimed] = await worker.claim()
        with pytest.raises(DBAPIError):
            await worker.succeed(claimed, result="{not json")
        assert await store.statuses() == {"running": 1}


class TestRequeue:
    async def test_a_retry_waits_for_its_time_and_counts(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        worker = await store.process()
        await worker.retry(*await worker.claim(), delay_s=60)
        row = await store.job(job)
        assert (row.status, row.attempts, row.lease_no) == (Status.QUEUED, 1, 1)
        assert row.run_at > row.created_at
        assert await store.places(job) == ["waiting"]
        assert await store.outcomes(job) == ["retried"]
        assert (await store.events(job))[-1] == (3, "job.retrying")
        assert await worker.claim(models={"sim/fast": 5}) == []

        await store.make_due()
        assert await let_in_due(store.worker) == {"default": 1}
        [again] = await worker.claim()
        assert (again.attempts, again.lease_no) == (2, 2)

    async def test_a_retry_without_delay_is_ready_at_once(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        worker = await store.process()
        await worker.retry(*await worker.claim())
        assert await store.places(job) == ["ready"]

    async def test_a_hand_back_is_not_counted(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        worker = await store.process()
        await worker.hand_back(*await worker.claim())
        row = await store.job(job)
        assert (row.status, row.attempts, row.lease_no) == (Status.QUEUED, 0, 1)
        assert await store.outcomes(job) == ["handed_back"]
        [again] = await worker.claim()
        assert (again.attempts, again.lease_no) == (1, 2)

    async def test_a_stream_that_was_shown_is_reset_first(self, store: Store) -> None:
        job = await store.add(await store.tenant(), stream=True)
        worker = await store.process()
        await worker.retry(*await worker.claim(), reset=True)
        assert await store.events(job) == [(2, "job.started"), (3, "job.reset"), (4, "job.retrying")]

    async def test_a_job_that_has_started_once_no_longer_expires(self, store: Store) -> None:
        job = await store.add(await store.tenant(), ttl_s=0.001)
        await store.sql("UPDATE ready SET expires_at = now() + interval '1 h'")
        worker = await store.process()
        await worker.retry(*await worker.claim(), delay_s=30)
        await store.make_due()
        await let_in_due(store.worker)
        assert await store.value("SELECT expires_at FROM ready") is None
        assert (await expire_late(store.worker, PUBLIC_URL)).jobs == []
        assert (await store.job(job)).expires_at >= (await store.job(job)).run_at


class TestLose:
    async def test_the_jobs_of_a_dead_process_go_back_to_the_queue(self, store: Store) -> None:
        job = await store.add(await store.tenant(), lane="bulk")
        worker = await store.process()
        await worker.claim(lane="bulk")
        await worker.die()
        assert (await glance(store.worker, ["bulk"])).lost
        ended, lanes, taken = await lose_orphans(store.worker, PUBLIC_URL)
        assert (ended.jobs, lanes, taken) == ([], {"bulk"}, 1)
        assert await store.places(job) == ["ready"]
        assert await store.outcomes(job) == ["lost"]
        assert (await store.job(job)).attempts == 1
        assert not (await glance(store.worker, ["bulk"])).lost

    async def test_the_jobs_of_a_living_process_stay(self, store: Store) -> None:
        await store.add(await store.tenant())
        worker = await store.process()
        await worker.claim()
        assert (await lose_orphans(store.worker, PUBLIC_URL))[2] == 0

    async def test_a_process_that_never_said_hello_is_dead(self, store: Store) -> None:
        await store.add(await store.tenant())
        worker = await store.process()
        await worker.claim()
        await store.sql("DELETE FROM processes")
        assert (await lose_orphans(store.worker, PUBLIC_URL))[2] == 1

    async def test_a_job_whose_attempts_are_used_up_fails(self, store: Store) -> None:
        job = await store.add(await store.tenant(), max_attempts=2)
        for attempt in (1, 2):
            worker = await store.process()
            [claimed] = await worker.claim()
            assert claimed.attempts == attempt
            await worker.die()
            ended, _, _ = await lose_orphans(store.worker, PUBLIC_URL)
        assert ended.jobs == [job]
        row = await store.job(job)
        error = orjson.loads(row.error)
        assert (row.status, error["code"], error["retryable"]) == (Status.FAILED, "attempts_exhausted", False)
        assert await store.outcomes(job) == ["lost", "lost"]
        assert await store.places(job) == []
        assert (await store.events(job))[-1][1] == "job.failed"

    async def test_a_job_that_its_living_worker_lost_track_of_is_taken_with_the_attempt_counted(
        self, store: Store
    ) -> None:
        job = await store.add(await store.tenant(), max_attempts=1)
        worker = await store.process()
        [claimed] = await worker.claim()
        await abandon(store.worker, worker.id, {job: claimed.lease_no + 1})
        assert (await lose_orphans(store.worker, PUBLIC_URL))[2] == 0
        await abandon(store.worker, worker.id, {job: claimed.lease_no})
        assert (await lose_orphans(store.worker, PUBLIC_URL))[2] == 1
        assert orjson.loads((await store.job(job)).error)["code"] == "attempts_exhausted"
        assert (await worker.succeed(claimed)).finished == []

    async def test_sweepers_at_the_same_time_take_each_job_once(self, store: Store) -> None:
        tenant = await store.tenant()
        await store.accept(*(new_job(tenant) for _ in range(50)))
        worker = await store.process()
        await worker.claim()
        await worker.die()
        await asyncio.gather(*(lose_orphans(store.worker, PUBLIC_URL) for _ in range(5)))
        assert await store.statuses() == {"queued": 50}
        assert await store.value("SELECT count(*) FROM attempts") == 50
        assert await store.value("SELECT count(*) FROM ready") == 50

    async def test_a_dead_processs_stream_jumps_over_what_it_may_have_shown(self, store: Store) -> None:
        job = await store.add(await store.tenant(), stream=True)
        worker = await store.process()
        await worker.claim()
        await worker.die()
        await lose_orphans(store.worker, PUBLIC_URL)
        events = await store.events(job)
        assert [kind for _, kind in events] == ["job.started", "job.reset", "job.retrying"]
        assert events[1][0] > 1_000_000
        assert events[2][0] == events[1][0] + 1


class TestDueAndExpired:
    async def test_only_due_jobs_are_let_in(self, store: Store) -> None:
        tenant = await store.tenant()
        worker = await store.process()
        jobs = await store.accept(*(new_job(tenant) for _ in range(2)))
        claimed = await worker.claim()
        await worker.retry(claimed[0], delay_s=0.001)
        await worker.retry(claimed[1], delay_s=600)
        await store.sql("UPDATE waiting SET run_at = now() WHERE job_id = :id", id=jobs[0])
        assert await let_in_due(store.worker) == {"default": 1}
        assert [await store.places(job) for job in jobs] == [["ready"], ["waiting"]]

    async def test_sweepers_at_the_same_time_let_each_job_in_once(self, store: Store) -> None:
        tenant = await store.tenant()
        worker = await store.process()
        await store.accept(*(new_job(tenant) for _ in range(60)))
        await worker.retry(*await worker.claim(), delay_s=60)
        await store.make_due()
        let_in = await asyncio.gather(*(let_in_due(store.worker, 25) for _ in range(6)))
        assert sum(lanes.get("default", 0) for lanes in let_in) == 60
        assert await store.value("SELECT count(*) FROM ready") == 60

    async def test_a_job_that_did_not_start_in_time_expires(self, store: Store) -> None:
        tenant = await store.tenant()
        late, good = await store.accept(new_job(tenant), new_job(tenant))
        await store.make_late(late)
        assert (await glance(store.worker, [])).late
        assert (await expire_late(store.worker, PUBLIC_URL)).jobs == [late]
        assert await store.statuses() == {"expired": 1, "queued": 1}
        assert await store.places(late) == []
        assert await store.events(late) == [(2, "job.expired")]
        assert await store.status(good) is Status.QUEUED
        assert (await expire_late(store.worker, PUBLIC_URL)).jobs == []

    async def test_an_idle_glance_sees_nothing(self, store: Store) -> None:
        seen = await glance(store.worker, ["default"])
        assert (seen.due_in_s, seen.late, seen.lost, seen.deliveries, set(seen.lanes)) == (
            None,
            False,
            False,
            False,
            set(),
        )

    async def test_a_glance_tells_when_the_next_job_is_due(self, store: Store) -> None:
        await store.add(await store.tenant())
        worker = await store.process()
        await worker.retry(*await worker.claim(), delay_s=600)
        seen = await glance(store.worker, [])
        assert seen.due_in_s is not None
        assert 500 < seen.due_in_s <= 600
        await store.make_due()
        seen = await glance(store.worker, [])
        assert seen.due_in_s is not None
        assert seen.due_in_s <= 0

    async def test_a_glance_names_the_lanes_with_work(self, store: Store) -> None:
        await store.add(await store.tenant(), lane="bulk")
        assert set((await glance(store.worker, ["default", "bulk"])).lanes) == {"bulk"}


async def test_the_attempts_of_a_job_are_told_oldest_first_and_the_running_one_last(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant)
    worker = await store.process()
    await worker.retry(*await worker.claim())
    await worker.hand_back(*await worker.claim())
    await worker.claim()
    told = [(row["number"], row["outcome"]) for row in await read_attempts(store.api, tenant, job)]
    assert told == [(1, "retried"), (2, "handed_back"), (2, None)]
