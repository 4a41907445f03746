"""Keeping the store small: weeks that come and go, and what a kept week gives up row by row."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from core import ids
from core.presence import bury_dead
from core.store.keys import hash_key
from core.store.upkeep import drop_weeks, keep_partitions, retire_batch
from tests.support.store import Store, new_job

MONTH = timedelta(days=30)
HOUR = timedelta(hours=1)


async def weeks(store: Store, parent: str = "jobs") -> set[str]:
    rows = await store.rows(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:parent AS regclass)",
        parent=parent,
    )
    return {row.relname.removeprefix(f"{parent}_") for row in rows} - {"default"}


def week_of(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"{year}w{week:02}"


async def make_week(store: Store, ago: timedelta) -> datetime:
    """Add the partitions of a week that is over; returns a moment in it."""
    now = datetime.now(UTC)
    monday = (now - ago).replace(hour=0, minute=0, second=0, microsecond=0)
    monday -= timedelta(days=monday.weekday())
    for parent in ("jobs", "attempts", "job_events"):
        await store.sql(
            f"CREATE TABLE {parent}_{week_of(monday)} PARTITION OF {parent} "
            f"FOR VALUES FROM ('{ids.floor_of(monday)}') TO ('{ids.floor_of(monday + timedelta(days=7))}')"
        )
    return monday + timedelta(days=3)


async def old_job(store: Store, tenant: UUID, created: datetime, *, finished: datetime | None) -> UUID:
    job = UUID(int=ids.floor_of(created).int + 0x7000_8000_0000_0000_0000 + int(tenant.int & 0xFFFF))
    await store.sql(
        """
        INSERT INTO jobs (id, tenant_id, status, endpoint, model, lane, priority, body, stream, metadata, max_attempts,
          timeout_s, ttl_s, created_at, run_at, expires_at, started_at, finished_at, result)
        VALUES (:id, :tenant, :status, '/v1/chat/completions', 'sim/fast', 'default', 5, '{}', false, '{}', 5, 60, 60,
          :created, :created, :created, :created, :finished, CASE WHEN :ended THEN '{}'::json END)
        """,
        id=job, tenant=tenant, status="succeeded" if finished else "queued", created=created, finished=finished,
        ended=finished is not None,
    )  # fmt: skip
    await store.sql(
        "INSERT INTO attempts (job_id, lease_no, tenant_id, number, process_id, started_at, outcome) "
        "VALUES (:id, 1, :tenant, 1, :id, now(), 'succeeded')",
        id=job,
        tenant=tenant,
    )
    await store.sql(
        "INSERT INTO job_events (job_id, seq, last_seq, tenant_id, type) VALUES (:id, 2, 2, :tenant, 'job.succeeded')",
        id=job,
        tenant=tenant,
    )
    return job


async def test_the_weeks_ahead_are_there_and_making_them_again_does_nothing(store: Store) -> None:
    now = datetime.now(UTC)
    ahead = {week_of(now + timedelta(weeks=n)) for n in range(2)}
    await keep_partitions(store.worker)
    for parent in ("jobs", "attempts", "job_events"):
        assert await weeks(store, parent) == ahead
    assert await keep_partitions(store.worker) == 0


async def test_workers_that_make_weeks_at_once_make_each_once(store: Store) -> None:
    week = week_of(datetime.now(UTC) + timedelta(weeks=1))
    for parent in ("jobs", "attempts", "job_events"):
        await store.sql(f"DROP TABLE {parent}_{week}")
    made = await asyncio.gather(*(keep_partitions(store.worker) for _ in range(4)))
    assert sorted(made) == [0, 0, 0, 3]


async def test_new_jobs_go_into_their_week_and_not_into_the_default(store: Store) -> None:
    await store.add(await store.tenant())
    assert await store.value(f"SELECT count(*) FROM jobs_{week_of(datetime.now(UTC))}") == 1
    assert await store.value("SELECT count(*) FROM jobs_default") == 0


async def test_a_week_without_a_partition_still_takes_jobs(store: Store) -> None:
    week = week_of(datetime.now(UTC))
    for parent in ("jobs", "attempts", "job_events"):
        await store.sql(f"DROP TABLE {parent}_{week}")
    job = await store.add(await store.tenant())
    worker = await store.process()
    await worker.succeed(*await worker.claim())
    assert (await store.job(job)).status == "succeeded"


async def test_the_jobs_of_a_week_that_was_missing_move_into_it(store: Store) -> None:
    """Nobody made weeks for a month, jobs came all the same, and then upkeep is back."""
    week = week_of(datetime.now(UTC))
    for parent in ("jobs", "attempts", "job_events"):
        await store.sql(f"DROP TABLE {parent}_{week}")
    tenant = await store.tenant()
    done, running, queued = [await store.add(tenant) for _ in range(3)]
    worker = await store.process()
    [claimed] = await worker.claim(1)
    await worker.succeed(claimed)
    [claimed] = await worker.claim(1)
    assert await keep_partitions(store.worker) == 3
    assert await store.value("SELECT count(*) FROM jobs_default") == 0
    assert await store.value(f"SELECT count(*) FROM jobs_{week}") == 3
    assert await store.outcomes(done) == ["succeeded"]
    assert (await worker.succeed(claimed)).finished == [running]
    assert await store.events(running) == [(2, "job.started"), (3, "job.succeeded")]
    await worker.succeed(*await worker.claim())
    assert (await store.job(queued)).status == "succeeded"


async def test_jobs_that_finish_while_their_week_is_made_are_not_lost(store: Store) -> None:
    week = week_of(datetime.now(UTC))
    for parent in ("jobs", "attempts", "job_events"):
        await store.sql(f"DROP TABLE {parent}_{week}")
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant) for _ in range(60)))
    worker = await store.process()
    claimed = await worker.claim()
    finishing = [worker.succeed(*claimed[start : start + 5]) for start in range(0, 60, 5)]
    committed = await asyncio.gather(*finishing[:6], keep_partitions(store.worker), *finishing[6:])
    assert committed[6] == 3
    assert await store.statuses() == {"succeeded": 60}


async def test_a_week_that_is_over_is_dropped_whole(store: Store) -> None:
    tenant = await store.tenant()
    moment = await make_week(store, timedelta(days=60))
    await old_job(store, tenant, moment, finished=moment)
    assert await drop_weeks(store.worker, MONTH) == [week_of(moment)]
    for table in ("jobs", "attempts", "job_events"):
        assert week_of(moment) not in await weeks(store, table)
        assert await store.value(f"SELECT count(*) FROM {table}") == 0
    assert await drop_weeks(store.worker, MONTH) == []


@pytest.mark.parametrize("finished", ["never", "yesterday"])
async def test_a_week_with_something_unfinished_or_younger_stays(store: Store, finished: str) -> None:
    tenant = await store.tenant()
    moment = await make_week(store, timedelta(days=60))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    await old_job(store, tenant, moment, finished=None if finished == "never" else yesterday)
    assert await drop_weeks(store.worker, MONTH) == []
    assert await store.value("SELECT count(*) FROM jobs") == 1


async def test_what_is_over_in_a_kept_week_goes_row_by_row(store: Store) -> None:
    tenants = [await store.tenant() for _ in range(3)]
    moment = await make_week(store, timedelta(days=60))
    over = await old_job(store, tenants[0], moment, finished=moment)
    unfinished = await old_job(store, tenants[1], moment, finished=None)
    young = await old_job(store, tenants[2], moment, finished=datetime.now(UTC))
    assert await retire_batch(store.worker, MONTH) == 1
    left = {row.id for row in await store.rows("SELECT id FROM jobs")}
    assert left == {unfinished, young}
    assert over not in {
        row.job_id for row in await store.rows("SELECT job_id FROM attempts UNION SELECT job_id FROM job_events")
    }
    assert await retire_batch(store.worker, MONTH) == 0


async def test_batches_are_small(store: Store) -> None:
    moment = datetime.now(UTC) - timedelta(hours=3)
    for _ in range(5):
        await old_job(store, await store.tenant(), moment, finished=moment)
    batches = [await retire_batch(store.worker, HOUR, most=2) for _ in range(4)]
    assert batches == [2, 2, 1, 0]


async def test_a_young_job_outlives_upkeep(store: Store) -> None:
    tenant = await store.tenant()
    job = await store.add(tenant)
    worker = await store.process()
    await worker.succeed(*await worker.claim())
    assert await retire_batch(store.worker, HOUR) == 0
    assert (await store.job(job)).status == "succeeded"


async def test_keys_older_than_a_day_go(store: Store) -> None:
    tenant = await store.tenant()
    for key, age in (("old", "25 hours"), ("young", "23 hours")):
        await store.sql(
            f"INSERT INTO idempotency_keys VALUES (:tenant, :key, '', :tenant, now() - interval '{age}')",
            tenant=tenant,
            key=key,
        )
    assert await retire_batch(store.worker, MONTH) == 1
    assert await store.value("SELECT key FROM idempotency_keys") == "young"


async def test_a_finished_group_goes_after_its_jobs(store: Store) -> None:
    tenant = await store.tenant()
    moment = datetime.now(UTC) - timedelta(hours=3)
    group = ids.floor_of(moment)
    await store.sql(
        "INSERT INTO groups (id, tenant_id, total, remaining, finished_at) VALUES (:id, :tenant, 1, 0, :at)",
        id=group,
        tenant=tenant,
        at=moment,
    )
    job = await old_job(store, tenant, moment, finished=moment)
    await store.sql("UPDATE jobs SET group_id = :group WHERE id = :id", group=group, id=job)
    while await retire_batch(store.worker, HOUR):
        pass
    assert await store.value("SELECT count(*) FROM jobs") == 0
    assert await store.value("SELECT count(*) FROM groups") == 0


async def test_two_workers_at_once_retire_each_row_once(store: Store) -> None:
    moment = datetime.now(UTC) - timedelta(hours=3)
    for _ in range(10):
        await old_job(store, await store.tenant(), moment, finished=moment)
    counts = await asyncio.gather(*(retire_batch(store.worker, HOUR, most=5) for _ in range(2)))
    while more := await retire_batch(store.worker, HOUR, most=5):
        counts.append(more)
    assert sum(counts) == 10


async def test_processes_that_died_long_ago_are_forgotten(store: Store) -> None:
    dead, dying, living = [await store.process() for _ in range(3)]
    await store.sql("UPDATE processes SET lease_until = now() - interval '11 minutes' WHERE id = :id", id=dead.id)
    await dying.die()
    await bury_dead(store.worker)
    assert {row.id for row in await store.rows("SELECT id FROM processes")} == {dying.id, living.id}


def test_the_hash_of_a_key_is_all_that_is_stored() -> None:
    assert len(hash_key("cc_x")) == 32
