"""Beat only rings: two of it ring twice, and none of it leaves the work to the workers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery.beat import PersistentScheduler
from redis import Redis

from cli.stack.redis import EmbeddedRedis
from core.lifecycle import Status
from tests.support.processes import Stage
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, new_job
from tests.support.waiting import eventually
from workers.app import app


@pytest.fixture
def broker(own_redis: EmbeddedRedis) -> Iterator["Redis"]:
    with Redis.from_url(own_redis.url_for(1)) as client:
        yield client


def overdue(schedule: Path) -> Path:
    """Write the schedule of a beat that last ran an hour ago, so that everything is due at its start."""
    scheduler = PersistentScheduler(app=app, schedule_filename=str(schedule), lazy=True)
    scheduler.setup_schedule()
    for entry in scheduler.schedule.values():
        entry.last_run_at = datetime.now(UTC) - timedelta(hours=1)
    scheduler.close()
    return schedule


async def test_two_beats_do_no_harm(
    store: Store, stage: Stage, simulator: RunningSimulator, broker: "Redis", tmp_path: Path
) -> None:
    worker = await stage.worker(say="ready.")
    beats = [stage.beat(overdue(tmp_path / f"schedule-{number}")) for number in range(2)]
    for beat in beats:
        await beat.says("Sending due task ring-maintenance")
    tenant = await store.tenant()
    jobs = await store.accept(*(new_job(tenant) for _ in range(20)))

    async def done() -> bool:
        return await store.statuses() == {"succeeded": len(jobs)} and broker.llen("maintenance") == 0

    await eventually(done)
    assert simulator.stats()["requests"] == len(jobs)
    assert worker.alive
    assert [beat.stop() for beat in beats] == [0, 0]


async def test_without_a_beat_upkeep_happens_all_the_same(store: Store, stage: Stage) -> None:
    """A short retention shows it: an ended job goes, and nobody rang."""
    short = stage.settings.model_copy(update={"retention_days": 1 / 86_400})
    tenant = await store.tenant()
    job = await store.add(tenant)
    await store.cancel(tenant, job)
    assert await store.status(job) is Status.CANCELLED
    await stage.worker(short)

    async def gone() -> bool:
        return bool(await store.value("SELECT count(*) = 0 FROM jobs"))

    await eventually(gone)
