"""A worker is killed at every step of a batch, and another goes on: each job is answered once, each batch is made once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core import ids
from core.store.upstream_batches import LeaseLost, Opening, UpstreamBatch, UpstreamBatchStore
from core.store.work import Room, claim
from tests.integration.upstream_batches.conftest import MODEL, World
from tests.support.processes import Running, environment_of
from tests.support.servers import REPOSITORY

WHEN = Opening(collect_s=0, most=100, open_most=16, paused_s=600)


class Feeders:
    """Processes that feed the Batch API."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._all: list[Running] = []

    async def start(self) -> Running:
        environment = environment_of(
            self._world.settings.model_copy(update={"catalog": REPOSITORY / "catalog.toml"}),
            COATCHECK_WORKER_UPSTREAM_BATCH_COLLECT_S="0.01",
            COATCHECK_WORKER_UPSTREAM_BATCH_POLL_S="0.02",
        )
        log = self._folder / f"feeder-{len(self._all)}.log"
        feeder = Running("tests.integration.upstream_batches.feeding_process", environment=environment, log=log)
        self._all.append(feeder)
        await feeder.says("feeding")
        return feeder

    def close(self) -> None:
        for feeder in self._all:
            if feeder.alive:
                feeder.kill()


@pytest.fixture
async def feeders(world: World, tmp_path: Path) -> AsyncIterator[Feeders]:
    started = Feeders(world, tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("upload", "before"),
        ("upload", "after"),
        ("submit", "before"),
        ("submit", "after"),
        ("state", "before"),
        ("content", "before"),
        ("content", "second"),
        ("delete", "before"),
    ],
)
async def test_killed_at_a_step_nothing_is_lost_and_nothing_is_done_twice(
    world: World, feeders: Feeders, step: str, when: str
) -> None:
    jobs = [*await world.add(5), await world.steered(error={"status": 400})]
    world.control(hang={step: when})
    feeder = await feeders.start()
    await world.until_asked(step, 2 if when == "second" else 1)
    feeder.kill()
    world.control()
    await world.free()
    await feeders.start()
    await world.until(succeeded=5, failed=1)
    assert len(world.upstream()) == 1
    assert world.upstream("files") == []
    assert [len(await world.store.outcomes(job)) for job in jobs] == [1] * 6
    assert await world.store.value("SELECT count(*) FROM job_events WHERE type = 'job.succeeded'") == 5


async def test_killed_while_it_collects_its_jobs_are_in_the_batch_of_the_next(world: World, feeders: Feeders) -> None:
    jobs = await world.add(4)
    dead = UpstreamBatchStore(world.store.worker, world.process.id, 60)
    batch = await dead.open(ids.new_id(), MODEL, MODEL, WHEN)
    assert batch is not None
    room = Room(2, 2**20, {MODEL: 2})
    assert len(await claim(world.store.worker, "bulk", batch.id, room)) == 2
    await world.process.die()
    await world.free()
    await feeders.start()
    await world.until(succeeded=4)
    assert [await world.store.outcomes(job) for job in jobs] == [["succeeded"]] * 4


async def test_killed_before_it_could_start_a_stream_the_sweep_finds_the_job(world: World, feeders: Feeders) -> None:
    (job,) = await world.add(stream=True)
    dead = UpstreamBatchStore(world.store.worker, world.process.id, 60)
    batch = await dead.open(ids.new_id(), MODEL, MODEL, WHEN)
    assert batch is not None
    await claim(world.store.worker, "bulk", batch.id, Room(2, 2**20, {MODEL: 2}))
    await world.free()
    await feeders.start()
    await world.until(running=1)
    assert await world.states() == [("settled", "empty")]
    holder = await world.store.value("SELECT process_id FROM running WHERE job_id = :id", id=job)
    assert holder.int == 0


async def leased(world: World) -> tuple[UpstreamBatchStore, UpstreamBatch]:
    first = UpstreamBatchStore(world.store.worker, world.process.id, 60)
    batch = await first.open(ids.new_id(), MODEL, MODEL, WHEN)
    assert batch is not None
    return first, batch


async def test_who_lost_the_lease_can_move_the_batch_no_more(world: World) -> None:
    await world.add()
    first, batch = await leased(world)
    second = UpstreamBatchStore(world.store.worker, ids.new_id(), 60)
    assert await second.take() is None
    await world.free()
    taken = await second.take()
    assert taken is not None and taken.id == batch.id and taken.tries == 2
    with pytest.raises(LeaseLost):
        await first.renew(batch)
    with pytest.raises(LeaseLost):
        await first.advance(batch, "filled", endpoint="/v1/chat/completions", jobs=1)
    assert not await first.settle(batch)
    await first.release(batch, 0, counts=True)
    await second.renew(taken)
    assert (await second.advance(taken, "filled", endpoint="/v1/chat/completions", jobs=1)).state == "filled"


async def test_one_batch_of_a_deployment_is_filled_at_a_time(world: World) -> None:
    await world.add(2)
    first, batch = await leased(world)
    second = UpstreamBatchStore(world.store.worker, ids.new_id(), 60)
    assert await second.open(ids.new_id(), MODEL, MODEL, WHEN) is None
    await first.advance(batch, "filled", endpoint="/v1/chat/completions", jobs=1)
    assert await second.open(ids.new_id(), MODEL, MODEL, WHEN) is not None


async def test_a_batch_that_still_holds_jobs_is_not_settled(world: World) -> None:
    await world.add()
    store, batch = await leased(world)
    await claim(world.store.worker, "bulk", batch.id, Room(2, 2**20, {MODEL: 2}))
    batch = await store.advance(batch, "ended", outcome="completed")
    assert not await store.settle(batch)
    assert await world.store.value("SELECT count(*) FROM processes WHERE kind = 'upstream_batch'") == 1
