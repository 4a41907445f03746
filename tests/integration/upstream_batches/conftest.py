"""Bulk jobs, a simulated Batch API, and the part of a worker that feeds it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import Row

from cli.stack.redis import EmbeddedRedis
from core.announce import Announcer
from core.settings import Settings, WorkerSettings
from policies.catalog import Catalog, parse
from policies.catalog.simulated import simulated
from tests.support.simulator import RunningSimulator
from tests.support.store import Process, Store, chat_body
from tests.support.waiting import eventually
from workers.upstream_batches import UpstreamBatches
from workers.upstream_batches.doors import Doors

MODEL = "sim/batch"


@dataclass
class World:
    """A database with a tenant, a simulator, and one process's worth of batches."""

    store: Store
    simulator: RunningSimulator
    settings: Settings
    announcer: Announcer
    tenant: UUID
    process: Process
    catalog: Catalog
    doors: Doors | None = None
    started: list[Row[Any]] = field(default_factory=list)

    def batches(self, **changes: Any) -> UpstreamBatches:
        """The part of a worker, which has not looked yet."""
        quick = {"upstream_batch_collect_s": 0.01, "upstream_batch_poll_s": 0.02} | changes
        return UpstreamBatches(
            self.store.worker,
            self.process.id,
            self.settings,
            WorkerSettings(**quick),
            catalog=lambda: self.catalog,
            announcer=self.announcer,
            start=self.started.append,
            work=lambda _lane: None,
            doors=self.doors,
        )

    async def add(self, count: int = 1, **fields: Any) -> list[UUID]:
        """Bulk jobs."""
        fields = {"model": MODEL, "lane": "bulk"} | fields
        return [await self.store.add(self.tenant, **fields) for _ in range(count)]

    async def steered(self, **sim: Any) -> UUID:
        """A bulk job whose line in the batch goes as `sim` says."""
        return (await self.add(body=chat_body(MODEL, sim=sim)))[0]

    def control(self, **batches: Any) -> None:
        """Steer the Batch API."""
        self.simulator.control(batches=batches)

    def upstream(self, kind: str = "batches") -> list[dict[str, Any]]:
        """The upstream's batches (or files), newest first."""
        answer = httpx.get(f"{self.simulator.url}/v1/{kind}?limit=100", trust_env=False)
        listed: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return listed

    def asked(self, step: str) -> int:
        """How often the upstream was asked for a step."""
        return int(self.simulator.stats()["batches"].get(step, 0))

    async def until_asked(self, step: str, times: int = 1) -> None:
        async def look() -> bool:
            return self.asked(step) >= times

        await eventually(look)

    async def states(self) -> list[tuple[str, str | None]]:
        """State and outcome of every batch, oldest first."""
        rows = await self.store.rows("SELECT state, outcome FROM upstream_batches ORDER BY created_at, id")
        return [(row.state, row.outcome) for row in rows]

    async def until(self, **counts: int) -> None:
        """Wait until so many jobs have these states and no batch is under way."""

        async def look() -> bool:
            assert await self.store.statuses() == counts
            assert {state for state, _ in await self.states()} == {"settled"}
            return True

        await eventually(look)

    async def free(self) -> None:
        """Let every batch's lease run out, as if its worker had been dead for a while."""
        await self.store.sql(
            "UPDATE upstream_batches SET lease_until = now(), next_look_at = now() WHERE state <> 'settled'"
        )


@pytest.fixture
async def world(
    store: Store, simulator: RunningSimulator, settings: Settings, redis: EmbeddedRedis
) -> AsyncIterator[World]:
    client = Redis.from_url(redis.url)
    announcer = Announcer(client)
    announcer.start()
    catalog, _ = parse({}, simulated=simulated(simulator.url))
    settings = settings.model_copy(update={"simulator_url": simulator.url})
    yield World(store, simulator, settings, announcer, await store.tenant(), await store.process(), catalog)
    await announcer.stop()
    await client.aclose()


@pytest.fixture
async def running(world: World) -> AsyncIterator[Callable[..., UpstreamBatches]]:
    """Starts the batches of a worker; they stop with the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(**changes: Any) -> UpstreamBatches:
        batches = world.batches(**changes)
        tasks.append(asyncio.create_task(batches.run()))
        return batches

    yield start
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
