"""Commits that the end of the process breaks off: nobody is left waiting."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.committer import Committer
from core.store.failures import StoreUnavailable
from tests.support.store import Store, new_job
from tests.support.waiting import eventually


async def test_whoever_waits_behind_a_commit_that_is_broken_off_is_told(store: Store, owner: AsyncEngine) -> None:
    """Jobs with a concurrency key are committed after the others of their batch, and a stop may come in between."""
    tenant = await store.tenant()
    committer = Committer(store.api, committers=1)
    committer.start()
    keyed_job = new_job(tenant, concurrency_key="one at a time", concurrency_limit=1)
    async with owner.begin() as connection:
        await connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        waiting = [asyncio.create_task(committer.submit(job)) for job in (new_job(tenant), keyed_job)]

        async def committing_now() -> bool:
            return bool(await store.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(committing_now)
        await committer.stop()
        done, hanging = await asyncio.wait(waiting, timeout=5)
        for task in hanging:
            task.cancel()
    assert [type(task.exception()) for task in done] == [StoreUnavailable, StoreUnavailable]
