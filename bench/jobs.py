"""Jobs for the benchmarks: bodies of 1 kB, queues filled beforehand, and what the tables tell afterwards."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.figures import rate_between
from bench.world import TENANT, World
from core import ids
from core.database import connect, see_tenants
from core.store.accept import NewJob, insert_jobs
from core.store.keys import authenticate, create_key

ENDPOINT = "/v1/chat/completions"
MODEL = "sim/bench"
BODY_BYTES = 1000
_SLICE = 500
_WORDS = "cloak ticket counter rail coat number drawer queue hanger evening guest umbrella claim return".split()

# Jobs and all that belongs to them; the lanes' clocks, tenants and keys stay.
_EMPTY = (
    "TRUNCATE jobs, ready, waiting, running, attempts, job_events, groups, idempotency_keys, tenant_turns, "
    "webhook_events, webhook_deliveries, webhook_endpoints, held_back, concurrency_keys, usage_days"
)
_FINISHED = text(
    "SELECT extract(epoch FROM finished_at) AS at, count(*) AS jobs FROM jobs WHERE status = 'succeeded' GROUP BY 1"
)
_FINISHED_BASELINE = text("SELECT extract(epoch FROM finished_at) AS at FROM baseline_jobs WHERE status = 'succeeded'")

T = TypeVar("T")


def chat_body(number: int, latency_ms: float | None = None) -> dict[str, object]:
    """Return a chat request of about 1 kB, different for each number; ``latency_ms`` steers the simulated upstream."""
    words = random.Random(number)
    body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": ""}]}
    if latency_ms is not None:
        body["sim"] = {"latency_ms": latency_ms}
    room = BODY_BYTES - len(json.dumps(body))
    content = f"{number} "
    while len(content) < room:
        content += words.choice(_WORDS) + " "
    body["messages"] = [{"role": "user", "content": content[:room]}]
    return body


def job_requests(count: int, latency_ms: float | None = None) -> list[str]:
    """Return bodies for `POST /v1/jobs`."""
    return [json.dumps({"endpoint": ENDPOINT, "body": chat_body(number, latency_ms)}) for number in range(count)]


def in_database(world: World, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Run ``work`` with connections as the schema's owner."""

    async def run() -> T:
        engine = connect(world.settings, None, pool_size=4, name="bench")
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def make_tenant(world: World) -> None:
    """Make the tenant and the key that all benchmarks use: every scope, no rate limit, as the stack's own key."""

    async def make(engine: AsyncEngine) -> tuple[str, UUID]:
        made = await create_key(engine, world.box, TENANT, ("jobs:write", "jobs:read", "admin"))
        found = await authenticate(engine, made.key)
        assert found is not None
        return made.key, found.tenant_id

    world.key, world.tenant_id = in_database(world, make)


def empty(world: World, *, workers_run: bool = False) -> None:
    """Remove all jobs and let Postgres write out what is left to write, so that no benchmark pays for another.

    While workers run their leases stay: without them their next jobs would be taken for lost.
    """

    async def run(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.execute(text(_EMPTY if workers_run else f"{_EMPTY}, processes"))

    in_database(world, run)
    checkpoint(world)


def checkpoint(world: World) -> None:
    """Ask for a checkpoint as the superuser."""

    async def run() -> None:
        engine = connect(
            world.settings.model_copy(update={"database_url": world.postgres.admin_url}),
            None,
            pool_size=0,
            name="bench",
        )
        async with engine.connect() as connection:
            await connection.execute(text("CHECKPOINT"))
        await engine.dispose()

    asyncio.run(run())


def fill(world: World, count: int, latency: Callable[[int], float | None], lane: str = "default") -> None:
    """Accept ``count`` jobs the way the API's committer does, without HTTP; ``latency`` gives each one's upstream time in ms."""
    assert world.tenant_id is not None
    tenant = world.tenant_id

    def new_job(number: int) -> NewJob:
        body = json.dumps(chat_body(number, latency(number)))
        return NewJob(ids.new_id(), tenant, ENDPOINT, MODEL, body, lane=lane)

    async def run() -> None:
        engine = connect(world.settings, "coatcheck_api", pool_size=1, name="bench")
        for start in range(0, count, _SLICE):
            jobs = sorted((new_job(n) for n in range(start, min(count, start + _SLICE))), key=lambda job: job.id)
            async with engine.begin() as connection:
                await see_tenants(connection, [tenant])
                await insert_jobs(connection, jobs)
        await engine.dispose()

    asyncio.run(run())


def wait_for(world: World, query: str, seconds: float, meanwhile: Callable[[], None] | None = None) -> bool:
    """Ask until ``query`` says true; False after ``seconds``. ``meanwhile`` is called between two questions."""

    async def run(engine: AsyncEngine) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            async with engine.connect() as connection:
                if (await connection.execute(text(query))).scalar_one():
                    return True
            if meanwhile is not None:
                meanwhile()
            await asyncio.sleep(0.1)
        return False

    return in_database(world, run)


@dataclass(frozen=True, slots=True)
class Finishes:
    """When jobs finished, by the database's clock: (epoch seconds, jobs) in order."""

    moments: Sequence[tuple[float, int]]

    @property
    def count(self) -> int:
        return sum(jobs for _, jobs in self.moments)

    def rate(self, begin: float | None = None, end: float | None = None) -> float:
        """Return jobs/s from the first finish (or ``begin``) to the last (or ``end``), without those of the first moment."""
        if not self.moments:
            return float("nan")
        begin = self.moments[0][0] if begin is None else begin
        end = self.moments[-1][0] if end is None else end
        return rate_between(begin, end, sum(jobs for at, jobs in self.moments if begin < at <= end))


def finishes(world: World, *, baseline: bool = False) -> Finishes:
    """Return when the jobs in the table finished."""

    async def run(engine: AsyncEngine) -> Finishes:
        async with engine.connect() as connection:
            if baseline:
                rows = await connection.execute(_FINISHED_BASELINE)
                return Finishes(sorted((float(row.at), 1) for row in rows))
            rows = await connection.execute(_FINISHED)
            return Finishes(sorted((float(row.at), int(row.jobs)) for row in rows))

    return in_database(world, run)


def scalar(world: World, query: str) -> object:
    """Return the one value of a query."""

    async def run(engine: AsyncEngine) -> object:
        async with engine.connect() as connection:
            return (await connection.execute(text(query))).scalar_one()

    return in_database(world, run)
