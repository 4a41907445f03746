"""The moves that callers of the API make: cancel, queue again, delete."""

import asyncio

import orjson
import pytest

from core.lifecycle import Status
from core.store.moves import cancel_jobs, delete_job, resubmit
from core.store.work import expire_late, let_in_due
from tests.support.store import ERROR, PUBLIC_URL, Store, new_job


class TestCancel:
    async def test_a_queued_job_leaves_the_queue(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        cancelled = await store.cancel(tenant, job)
        assert (cancelled.ended.jobs, cancelled.running) == ([job], [])
        assert await store.status(job) is Status.CANCELLED
        assert await store.places(job) == []
        assert await store.outcomes(job) == []
        worker = await store.process()
        assert await worker.claim(models={"sim/fast": 1}) == []

    async def test_a_waiting_job_is_cancelled_too(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        worker = await store.process()
        await worker.retry(*await worker.claim(), delay_s=60)
        await store.cancel(tenant, job)
        assert await store.places(job) == []
        await store.make_due()
        assert await let_in_due(store.worker) == {}

    async def test_a_running_job_is_cancelled_and_its_late_result_dropped(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        worker = await store.process()
        [claimed] = await worker.claim()
        cancelled = await store.cancel(tenant, job)
        assert cancelled.running == [job]
        assert await worker.renew() == {}
        assert (await worker.succeed(claimed)).finished == []
        row = await store.job(job)
        assert (row.status, row.result) == (Status.CANCELLED, None)
        assert await store.outcomes(job) == ["cancelled"]

    async def test_an_ended_job_stays_as_it_is(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        worker = await store.process()
        await worker.succeed(*await worker.claim())
        before = await store.job(job)
        for _ in range(2):
            assert (await store.cancel(tenant, job)).ended.jobs == []
        assert await store.job(job) == before

    async def test_cancelling_twice_ends_it_once(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        both = await asyncio.gather(store.cancel(tenant, job), store.cancel(tenant, job))
        assert sorted(len(done.ended.jobs) for done in both) == [0, 1]
        assert await store.events(job) == [(2, "job.cancelled")]

    async def test_another_tenants_job_cannot_be_cancelled(self, store: Store) -> None:
        job = await store.add(await store.tenant())
        assert (await store.cancel(await store.tenant(), job)).ended.jobs == []
        assert await store.status(job) is Status.QUEUED

    async def test_cancels_claims_and_finishes_at_once_end_every_job_once(self, store: Store) -> None:
        tenant = await store.tenant()
        jobs = await store.accept(*(new_job(tenant, stream=n % 2 == 0) for n in range(120)))
        workers = [await store.process() for _ in range(2)]

        async def work(number: int) -> None:
            while rows := await workers[number].claim(9):
                await workers[number].succeed(*rows)

        async def cancel() -> None:
            for start in range(0, len(jobs), 10):
                await cancel_jobs(store.api, tenant, jobs[start : start + 10 : 2], PUBLIC_URL)

        await asyncio.gather(work(0), work(1), cancel())
        await work(0)
        statuses = await store.statuses()
        assert set(statuses) <= {"succeeded", "cancelled"}
        assert sum(statuses.values()) == 120
        ends = await store.rows(
            "SELECT job_id, count(*) AS n FROM job_events WHERE type IN ('job.succeeded', 'job.cancelled') GROUP BY job_id"
        )
        assert len(ends) == 120
        assert {row.n for row in ends} == {1}
        assert await store.value("SELECT count(*) FROM ready") + await store.value("SELECT count(*) FROM running") == 0


class TestResubmit:
    async def test_an_ended_job_runs_again_with_one_more_attempt(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant, max_attempts=1, lane="bulk")
        worker = await store.process()
        await worker.fail(*await worker.claim(lane="bulk"))
        old_end = (await store.job(job)).expires_at
        assert await resubmit(store.api, tenant, job, PUBLIC_URL) == "bulk"
        row = await store.job(job)
        assert (row.status, row.attempts, row.max_attempts) == (Status.QUEUED, 1, 2)
        assert (row.result, row.error, row.started_at, row.finished_at) == (None, None, None, None)
        assert row.expires_at > old_end
        [again] = await worker.claim(lane="bulk")
        assert (again.attempts, again.lease_no) == (2, 2)
        await worker.succeed(again)
        assert [kind for _, kind in await store.events(job)] == [
            "job.started", "job.failed", "job.queued", "job.started", "job.succeeded",
        ]  # fmt: skip

    async def test_the_event_of_the_earlier_end_keeps_the_job_as_it_was(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        worker = await store.process()
        await worker.fail(*await worker.claim())
        await resubmit(store.api, tenant, job, PUBLIC_URL)
        data = await store.value("SELECT data FROM job_events WHERE job_id = :id AND type = 'job.failed'", id=job)
        assert orjson.loads(data)["error"] == orjson.loads(ERROR)

    @pytest.mark.parametrize("ending", ["cancelled", "expired"])
    async def test_cancelled_and_expired_jobs_may_be_queued_again(self, store: Store, ending: str) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        if ending == "cancelled":
            await store.cancel(tenant, job)
        else:
            await store.make_late(job)
            await expire_late(store.worker, PUBLIC_URL)
        assert await resubmit(store.api, tenant, job, PUBLIC_URL) == "default"
        assert await store.places(job) == ["ready"]

    @pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
    async def test_no_other_state_allows_it(self, store: Store, state: str) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        worker = await store.process()
        if state != "queued":
            rows = await worker.claim()
            if state == "succeeded":
                await worker.succeed(*rows)
        before = await store.job(job)
        assert await resubmit(store.api, tenant, job, PUBLIC_URL) is None
        assert await store.job(job) == before

    async def test_asking_twice_at_once_queues_it_once(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        await store.cancel(tenant, job)
        lanes = await asyncio.gather(*(resubmit(store.api, tenant, job, PUBLIC_URL) for _ in range(3)))
        assert sorted(map(str, lanes)) == ["None", "None", "default"]
        assert await store.places(job) == ["ready"]

    async def test_another_tenants_job_cannot_be_queued_again(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        await store.cancel(tenant, job)
        assert await resubmit(store.api, await store.tenant(), job, PUBLIC_URL) is None


class TestDelete:
    async def test_an_ended_job_goes_with_all_that_tells_of_it(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant, webhook='{"url": "https://receiver.test/hook"}')
        worker = await store.process()
        await worker.succeed(*await worker.claim())
        assert await store.value("SELECT count(*) FROM webhook_deliveries") == 1
        assert await delete_job(store.api, tenant, job)
        for table in ("jobs", "attempts", "job_events", "webhook_events", "webhook_deliveries"):
            assert await store.value(f"SELECT count(*) FROM {table}") == 0
        assert not await delete_job(store.api, tenant, job)

    async def test_an_unfinished_job_cannot_be_deleted(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        assert not await delete_job(store.api, tenant, job)
        worker = await store.process()
        await worker.claim()
        assert not await delete_job(store.api, tenant, job)
        assert await store.status(job) is Status.RUNNING

    async def test_another_tenants_job_cannot_be_deleted(self, store: Store) -> None:
        tenant = await store.tenant()
        job = await store.add(tenant)
        await store.cancel(tenant, job)
        assert not await delete_job(store.api, await store.tenant(), job)
        assert await store.status(job) is Status.CANCELLED
