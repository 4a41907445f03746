"""Clients that fall silent in the middle of something: what they hold is free again, and nobody else is disturbed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from core.store.upkeep import end_silent_sessions
from tests.support.store import Store
from tests.support.waiting import eventually
from workers.engine.silence import Silence

Open = Callable[[str], Awaitable["asyncpg.Connection[Any]"]]


@pytest.fixture
async def open_session(database_url: str) -> AsyncIterator[Open]:
    """Opens connections of their own with an application name."""
    opened: list[asyncpg.Connection[Any]] = []

    async def open_one(name: str) -> "asyncpg.Connection[Any]":
        plain = database_url.replace("postgresql+asyncpg://", "postgresql://")
        opened.append(await asyncpg.connect(plain, server_settings={"application_name": name}))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.terminate()


async def lock(connection: "asyncpg.Connection[Any]", job: UUID) -> None:
    """Lock a job, and leave the session where it waits for the rest of a statement."""
    await connection.execute("BEGIN")
    await connection.execute(f"SELECT FROM jobs WHERE id = '{job}' FOR UPDATE")
    # The driver asks for the statement's description and would go on with its execution: until then it owes the server a word.
    await connection.prepare("SELECT 1")


async def waits(store: Store, name: str, event: str) -> None:
    """Wait until the session waits for its client, and Postgres takes it for busy."""

    async def look() -> bool:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = :name AND state = 'active' AND wait_event = :event"
        return bool(await store.rows(query, name=name, event=event))

    await eventually(look)


async def is_free(store: Store, job: UUID) -> bool:
    return bool(await store.rows("SELECT id FROM jobs WHERE id = :id FOR UPDATE SKIP LOCKED", id=job))


async def test_a_client_that_owes_the_rest_of_a_statement_keeps_no_job(store: Store, open_session: Open) -> None:
    job = await store.add(await store.tenant())
    await lock(await open_session("coatcheck-worker"), job)
    await waits(store, "coatcheck-worker", "ClientRead")
    assert not await is_free(store, job)
    assert await end_silent_sessions(store.worker, 600) == 0
    assert not await is_free(store, job)
    assert await end_silent_sessions(store.worker, 0) >= 1

    async def free() -> bool:
        return await is_free(store, job)

    await eventually(free)


async def test_a_client_that_reads_its_answer_no_further_keeps_no_job(store: Store, open_session: Open) -> None:
    job = await store.add(await store.tenant())
    connection = await open_session("coatcheck-reader")
    await connection.execute("BEGIN")
    await connection.execute(f"SELECT FROM jobs WHERE id = '{job}' FOR UPDATE")
    much = await connection.prepare("SELECT repeat('coat', 1000000) FROM generate_series(1, 20)")
    connection._transport.pause_reading()
    asking = asyncio.create_task(much.fetch())
    await waits(store, "coatcheck-reader", "ClientWrite")
    assert await end_silent_sessions(store.worker, 0) >= 1

    async def free() -> bool:
        return await is_free(store, job)

    await eventually(free)
    connection.terminate()
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await asking


async def test_sessions_that_hold_nothing_or_belong_to_others_are_left_alone(store: Store, open_session: Open) -> None:
    job, other = [await store.add(await store.tenant()) for _ in range(2)]
    idle = await open_session("coatcheck-worker")
    foreign = await open_session("somebody-else")
    await lock(foreign, other)
    await waits(store, "somebody-else", "ClientRead")
    await lock(await open_session("coatcheck-gone"), job)
    await waits(store, "coatcheck-gone", "ClientRead")
    await end_silent_sessions(store.worker, 0)
    assert await idle.fetchval("SELECT 1") == 1
    assert not foreign.is_closed()
    assert not await store.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'coatcheck-gone'")


async def test_a_worker_looks_for_silent_sessions_again_and_again(store: Store, open_session: Open) -> None:
    looking = asyncio.create_task(Silence(store.worker, every_s=0.02, silent_s=0.1).run())
    for _ in range(2):
        job = await store.add(await store.tenant())
        await lock(await open_session("coatcheck-worker"), job)

        async def free(job: UUID = job) -> bool:
            return await is_free(store, job)

        await eventually(free)
    looking.cancel()
