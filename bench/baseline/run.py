"""Starting the baseline's programs in the world of a benchmark."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sqlalchemy.ext.asyncio import create_async_engine

from bench.baseline.tables import Base
from bench.jobs import ENDPOINT, chat_body
from bench.processes import Process
from bench.world import World, answers, free_port

#: The query that tells whether no job is left.
DONE = "SELECT NOT EXISTS (SELECT FROM baseline_jobs WHERE status = 'queued')"

Clients = Literal["shared", "per_thread"]
THREADS = 100


def environment(world: World, clients: Clients = "shared") -> dict[str, str]:
    """The environment of the baseline's programs."""
    return world.environment(
        BASELINE_DATABASE_URL=world.postgres.url,
        # A database of Redis that the measured worker does not read.
        BASELINE_BROKER_URL=world.redis.broker_url.replace("virtual_host=1", "virtual_host=2"),
        BASELINE_UPSTREAM_URL=f"{world.simulator_url}{ENDPOINT}",
        BASELINE_CLIENT=clients,
    )


def prepare(world: World) -> None:
    """Make the table anew and empty the queue."""

    async def run() -> None:
        engine = create_async_engine(world.postgres.url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        await engine.dispose()

    asyncio.run(run())
    _celery_process(world, "bench.baseline.empty_queue")


@contextmanager
def api(world: World) -> Iterator[int]:
    """One uvicorn process; yields its port."""
    port = free_port()
    arguments = [
        "-m", "uvicorn", "bench.baseline.app:app", "--port", str(port), "--loop", "uvloop", "--http", "httptools",
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    with Process(
        arguments, environment(world), world.log("baseline-api"), lambda: answers(f"http://127.0.0.1:{port}/readyz")
    ):
        yield port


@contextmanager
def worker(world: World, clients: Clients) -> Iterator[Process]:
    """One Celery worker with the threads pool."""
    arguments = [
        "-m", "celery", "-A", "bench.baseline.tasks", "worker", "--pool", "threads", "--concurrency",
        os.environ.get("BASELINE_THREADS", str(THREADS)), "--loglevel", "WARNING",
    ]  # fmt: skip
    with Process(arguments, environment(world, clients), world.log("baseline-worker")) as process:
        yield process


def fill(world: World, count: int, latency_ms: float) -> None:
    """Put ``count`` jobs into the table and the queue."""
    _celery_process(
        world, "bench.baseline.fill", json.dumps([chat_body(number, latency_ms) for number in range(count)])
    )


def _celery_process(world: World, module: str, given: str = "") -> None:
    """Run a module that needs the baseline's settings in a process of its own: Celery apps are configured by the environment."""
    subprocess.run([sys.executable, "-m", module], env=environment(world), input=given, text=True, check=True)
