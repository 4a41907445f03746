"""Schedules without beat, and workers that die while they expand a run."""

from typing import Any
from uuid import UUID

import orjson

from core import ids
from core.store.schedules import ScheduleStore
from tests.support.processes import Stage
from tests.support.store import CHAT, Store
from tests.support.waiting import eventually

TEMPLATE = {"endpoint": CHAT, "body": {"model": "sim/fast", "messages": [{"role": "user", "content": "{{n}}"}]}}
SIZE = 3000


async def add(store: Store, **members: Any) -> UUID:
    """A schedule of one tenant's that is due at once."""
    schedule_id = ids.new_id()
    values = {
        "name": "e2e", "kind": "prewarm", "cron": "* * * * *", "timezone": "UTC", "template": orjson.dumps(TEMPLATE).decode(),
        "matrix": orjson.dumps({"n": list(range(SIZE))}).decode(), **members,
    }  # fmt: skip
    await ScheduleStore(store.api, await store.tenant()).add(schedule_id, values)
    await store.sql("UPDATE schedules SET next_run_at = now() WHERE id = :id", id=schedule_id)
    return schedule_id


async def first_run(store: Store, schedule: UUID) -> Any:
    rows = await store.rows("SELECT * FROM schedule_runs WHERE schedule_id = :id ORDER BY id LIMIT 1", id=schedule)
    return rows[0] if rows else None


async def test_workers_alone_fire_what_is_due(store: Store, stage: Stage) -> None:
    schedule = await add(store, matrix='{"n":[1,2,3]}')
    await stage.worker(lanes="prewarm,maintenance")

    async def done() -> bool:
        run = await first_run(store, schedule)
        return run is not None and run.status == "completed"

    await eventually(done)
    assert (await first_run(store, schedule)).succeeded == 3


async def test_a_run_survives_the_killing_of_its_expander(store: Store, stage: Stage) -> None:
    schedule = await add(store)
    expander = await stage.worker(lanes="maintenance")

    async def begun() -> bool:
        run = await first_run(store, schedule)
        return run is not None and run.submitted > 0

    await eventually(begun)
    expander.kill()
    assert (await first_run(store, schedule)).submitted < SIZE, "it was killed in the middle"
    await stage.worker(lanes="maintenance")

    async def expanded() -> bool:
        return bool((await first_run(store, schedule)).submitted == SIZE)

    await eventually(expanded, 60)
    prompts = await store.rows(
        "SELECT body -> 'messages' -> 0 ->> 'content' AS n FROM jobs WHERE schedule_id = :id", id=schedule
    )
    assert sorted(int(row.n) for row in prompts) == list(range(SIZE))
