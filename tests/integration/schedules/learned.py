"""Learned schedules as tests of them need them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row

from core.store.schedule_runs import Run, fire_due, take_run
from tests.integration.schedules.conftest import Schedules
from tests.support.past import NOW


class Cached:
    """A cache in which some entries live for some seconds yet."""

    ttl_s = 7200.0

    def __init__(self, left: dict[bytes, float] | None = None) -> None:
        self.left = left or {}

    async def left_s(self, _tenant: UUID, keys: Sequence[bytes]) -> list[float]:
        return [self.left.get(key, 0.0) for key in keys]

    async def is_fresh(self, _tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        return {key for key in keys if self.left.get(key, 0.0) > for_s}


async def learned(schedules: Schedules, now: datetime = NOW, **members: Any) -> UUID:
    """A learned schedule whose time has come at `now`, with a run that nobody has taken."""
    members = {"cron": "45 * * * *", "timezone": "Europe/Berlin", "template": {}} | members
    schedule = await schedules.add(kind="prewarm", matrix="learned", **members)
    await schedules.store.sql("UPDATE schedules SET next_run_at = :now WHERE id = :id", now=now, id=schedule)
    await fire_due(schedules.store.worker, now=now)
    # By the clock of the database its next time is long past.
    await schedules.store.sql("UPDATE schedules SET next_run_at = NULL WHERE id = :id", id=schedule)
    return schedule


async def take(schedules: Schedules) -> Run:
    run = await take_run(schedules.store.worker)
    assert run is not None
    return run


async def work(schedules: Schedules, freshness: Any = None, now: datetime = NOW) -> None:
    await schedules.clock(freshness or Cached(), now=lambda: now).work_on(await take(schedules))


def prompts(jobs: Sequence[Row[Any]]) -> list[str]:
    return [orjson.loads(job.body)["messages"][0]["content"] for job in jobs]
