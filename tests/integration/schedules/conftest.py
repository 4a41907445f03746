"""Schedules in a real database, fired by clocks without a worker around them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.catalog import load
from core.store.schedules import ScheduleStore
from core.store.work import Finish
from policies.catalog import Catalog
from tests.support.past import Past
from tests.support.servers import REPOSITORY
from tests.support.store import PUBLIC_URL, RESULT, Process, Store
from workers.schedules.clock import ScheduleClock
from workers.schedules.freshness import Freshness

TEMPLATE: dict[str, Any] = {
    "endpoint": "/v1/chat/completions",
    "body": {
        "model": "sim/fast",
        "messages": [{"role": "user", "content": "What do {{segment}} like about {{category}}?"}],
    },
}


class Schedules:
    """One tenant's schedules in short words."""

    def __init__(self, store: Store, tenant: UUID, clock: Callable[..., ScheduleClock]) -> None:
        self.store = store
        self.tenant = tenant
        self.api = ScheduleStore(store.api, tenant)
        self.clock = clock

    async def add(
        self,
        *,
        kind: str = "jobs",
        cron: str = "*/10 * * * *",
        template: dict[str, Any] = TEMPLATE,
        matrix: dict[str, Any] | str | None = None,
        size: int = 4,
        **members: Any,
    ) -> UUID:
        """A schedule with `size` jobs a run whose time has just come."""
        schedule_id = ids.new_id()
        matrix = matrix or {"segment": ["a", "b"], "category": list(range(size // 2))}
        values = {
            "name": "test",
            "kind": kind,
            "cron": cron,
            "timezone": "UTC",
            "template": orjson.dumps(template).decode(),
            "matrix": None if kind == "keep_warm" else orjson.dumps(matrix).decode(),
            **members,
        }
        await self.api.add(schedule_id, values)
        await self.make_due(schedule_id)
        return schedule_id

    async def make_due(self, schedule_id: UUID, ago: str = "1 second") -> None:
        """Let a time of the schedule have come so long ago."""
        await self.store.sql(
            "UPDATE schedules SET next_run_at = now() - cast(cast(:ago AS text) AS interval) WHERE id = :id",
            ago=ago,
            id=schedule_id,
        )

    async def runs(self, schedule_id: UUID) -> list[Row[Any]]:
        """The runs as they are stored, oldest first."""
        return list(
            await self.store.rows("SELECT * FROM schedule_runs WHERE schedule_id = :id ORDER BY id", id=schedule_id)
        )

    async def jobs(self, schedule_id: UUID) -> list[Row[Any]]:
        """The jobs that a schedule made, oldest first."""
        return list(await self.store.rows("SELECT * FROM jobs WHERE schedule_id = :id ORDER BY id", id=schedule_id))

    async def finish(
        self, worker: Process, most: int = 1000, *, lane: str = "default", tokens: int = 10, cache: str | None = None
    ) -> int:
        """Have a worker claim jobs and succeed with them, with what `cache` tells of caches; how many."""
        claimed = await worker.claim(most, lane=lane)
        usage = f'{{"input_tokens":1,"output_tokens":{tokens - 1},"cached_tokens":0,"total_tokens":{tokens}}}'
        if claimed:
            await worker.commit(
                [
                    Finish(
                        row.id,
                        row.lease_no,
                        "succeeded",
                        row.event_seq,
                        result=RESULT,
                        usage=usage,
                        cost_usd=Decimal("0.01"),
                        cache=cache,
                    )
                    for row in claimed
                ]
            )
        return len(claimed)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load(REPOSITORY / "catalog.toml", "http://127.0.0.1:9")


@pytest.fixture
def rung() -> list[str]:
    """Which lanes the clocks said to have work."""
    return []


@pytest.fixture
def clock(worker_engine: AsyncEngine, catalog: Catalog, rung: list[str]) -> Callable[..., ScheduleClock]:
    def make(freshness: Freshness | None = None, **more: Any) -> ScheduleClock:
        return ScheduleClock(worker_engine, lambda: catalog, PUBLIC_URL, work=rung.append, freshness=freshness, **more)

    return make


@pytest.fixture
async def schedules(store: Store, clock: Callable[..., ScheduleClock]) -> Schedules:
    return Schedules(store, await store.tenant(), clock)


@pytest.fixture
def past(schedules: Schedules) -> Past:
    return Past(schedules.store, schedules.tenant)
