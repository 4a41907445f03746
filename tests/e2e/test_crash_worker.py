"""Workers that die, freeze, stop and race."""

import asyncio
import signal
from uuid import UUID

import orjson
import pytest

from core.dispatch import CLAIM_TASK, publisher
from core.lifecycle import Status
from tests.support.processes import Running, Stage
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually


async def hanging_job(store: Store, **fields: object) -> UUID:
    """A job whose upstream answers when the simulator is told to release it."""
    body = chat_body("sim/fast", sim={"hang": True})
    return await store.add(await store.tenant(), body=body, **fields)


async def in_flight(simulator: RunningSimulator, **conditions: int) -> None:
    await asyncio.to_thread(simulator.wait_for, **(conditions or {"min_in_flight": 1}))


async def reach(store: Store, job: UUID, status: Status) -> None:
    async def there() -> bool:
        return await store.status(job) is status

    await eventually(there)


async def empty_handed(store: Store, worker: Running) -> None:
    """Wait until a worker has a valid lease and holds no job."""

    async def look() -> bool:
        rows = await store.rows("SELECT health FROM processes WHERE pid = :pid AND lease_until > now()", pid=worker.pid)
        return bool(rows) and orjson.loads(rows[0].health)["in_flight"] == 0

    await eventually(look)


async def test_a_worker_that_is_killed_loses_no_job(store: Store, stage: Stage, simulator: RunningSimulator) -> None:
    first = await stage.worker()
    job = await hanging_job(store)
    tenant = await store.tenant()
    others = await store.accept(*(new_job(tenant) for _ in range(20)))
    await in_flight(simulator)
    first.kill()
    await in_flight(simulator, max_in_flight=0)
    await stage.worker()

    async def released() -> bool:
        # Again and again: a release is for those that hang, and others may be in flight before the lost job is claimed anew.
        await asyncio.to_thread(simulator.control, release=True)
        return await store.status(job) is Status.SUCCEEDED

    await eventually(released)
    for one in others:
        await reach(store, one, Status.SUCCEEDED)
    assert await store.outcomes(job) == ["lost", "succeeded"]
    assert (await store.job(job)).attempts == 2


async def test_a_frozen_workers_late_result_is_dropped_while_others_have_the_job(
    store: Store, stage: Stage, simulator: RunningSimulator
) -> None:
    """Frozen past its lease, taken over, handed back, claimed again: and then the first worker wakes up with its answer."""
    job = await hanging_job(store)
    frozen = await stage.worker()
    await in_flight(simulator)
    frozen.send(signal.SIGSTOP)
    simulator.control(release=True)  # its answer is on the way and it cannot read it

    polite = await stage.worker(grace_s="0")
    await in_flight(simulator, min_requests=2, min_in_flight=1)
    assert polite.stop() == 0
    row = await store.job(job)
    assert (row.status, row.attempts, row.lease_no) == (Status.QUEUED, 1, 2)

    await stage.worker()
    await in_flight(simulator, min_requests=3, min_in_flight=1)
    before = await store.job(job)
    assert (before.status, before.attempts, before.lease_no) == (Status.RUNNING, 2, 3)
    frozen.send(signal.SIGCONT)
    await empty_handed(store, frozen)
    assert frozen.said("outcomes_dropped", "attempt_aborted")
    assert await store.job(job) == before

    simulator.control(release=True)
    await reach(store, job, Status.SUCCEEDED)
    assert await store.outcomes(job) == ["lost", "handed_back", "succeeded"]


async def test_a_frozen_workers_late_result_is_dropped_after_the_end(
    store: Store, stage: Stage, simulator: RunningSimulator
) -> None:
    job = await hanging_job(store)
    frozen = await stage.worker()
    await in_flight(simulator)
    frozen.send(signal.SIGSTOP)
    await stage.worker()
    await in_flight(simulator, min_requests=2)
    simulator.control(release=True)
    await reach(store, job, Status.SUCCEEDED)
    before = await store.job(job)
    frozen.send(signal.SIGCONT)
    await empty_handed(store, frozen)
    assert await store.job(job) == before
    assert await store.outcomes(job) == ["lost", "succeeded"]
    # It is as good as new.
    await reach(store, await store.add(before.tenant_id), Status.SUCCEEDED)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
async def test_a_worker_that_is_told_to_stop_finishes_what_it_can_and_hands_back_the_rest(
    store: Store, stage: Stage, simulator: RunningSimulator, how: signal.Signals
) -> None:
    worker = await stage.worker(grace_s="1")
    tenant = await store.tenant()
    slow = await store.add(tenant, body=chat_body("sim/fast", sim={"ttft_ms": 400}))
    stuck = await hanging_job(store)
    await in_flight(simulator, min_in_flight=2)
    worker.send(how)
    assert await worker.ended() == 0
    assert await store.status(slow) is Status.SUCCEEDED
    row = await store.job(stuck)
    assert (row.status, row.attempts, row.lease_no) == (Status.QUEUED, 0, 1)
    assert await store.outcomes(stuck) == ["handed_back"]
    assert await store.value("SELECT count(*) FROM processes") == 0
    await in_flight(simulator, min_cancelled=1)


@pytest.mark.parametrize("doorbells", [0, 30])
async def test_racing_workers_and_doubled_doorbells_run_every_job_once(
    store: Store, stage: Stage, simulator: RunningSimulator, doorbells: int
) -> None:
    tenants = [await store.tenant() for _ in range(4)]
    workers = await asyncio.gather(*(stage.worker(claim_limit="8") for _ in range(2)))
    jobs = [new_job(tenants[n % 4], priority=n % 10) for n in range(300)]
    app = publisher(stage.settings)

    def ring() -> None:
        for _ in range(doorbells):
            app.send_task(CLAIM_TASK, args=("default",), queue="default", retry=False, ignore_result=True)

    for start in range(0, 300, 50):
        await store.accept(*jobs[start : start + 50])
        await asyncio.to_thread(ring)

    async def done() -> bool:
        return await store.statuses() == {"succeeded": 300}

    await eventually(done)
    assert simulator.stats()["requests"] == 300
    assert await store.value("SELECT count(*) FROM attempts") == 300
    assert all(worker.alive for worker in workers)
