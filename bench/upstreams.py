"""Several simulated upstreams behind one model, and a steady stream of jobs for them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import jobs
from bench.processes import Process
from bench.traffic import post_at
from bench.world import World, simulator_process

MODEL: Final = "bench/shared"
_DEPLOYMENT = """
[[deployments]]
name = "{name}"
model = "{model}"
provider = "openai"
base_url = "{url}/v1"
upstream_model = "sim/bench"
max_concurrency = 256
connect_timeout_s = 1
"""
_JOBS = text(
    "SELECT status, extract(epoch FROM created_at)::float8 AS came, extract(epoch FROM coalesce(finished_at, now()))::float8 "
    "AS ended FROM jobs ORDER BY created_at"
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One of the servers behind the model."""

    name: str
    process: Process
    url: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one job; times by the database's clock, in seconds."""

    status: str
    came: float
    ended: float

    @property
    def took_ms(self) -> float:
        return (self.ended - self.came) * 1000


@contextmanager
def upstreams(world: World, names: Sequence[str], policy: str = "") -> Iterator[tuple[World, list[Upstream]]]:
    """Start a simulator for each name; yields them, and a world whose catalog has them as deployments of `MODEL`.

    ``policy`` are lines for the model's table in the catalog.
    """
    with ExitStack() as stack:
        started = []
        for name in names:
            process, url = stack.enter_context(simulator_process(world.log(f"simulator-{name}")))
            started.append(Upstream(name, process, url))
        catalog = world.folder / f"catalog-{'-'.join(names)}.toml"
        tables = [_DEPLOYMENT.format(name=each.name, model=MODEL, url=each.url) for each in started]
        catalog.write_text("\n".join([*tables, f'[models."{MODEL}"]', policy, ""]))
        yield replace(world, catalog=catalog), started


def bodies(count: int, latency_ms: Callable[[int], float]) -> list[str]:
    """Return bodies for `POST /v1/jobs` that go to `MODEL`."""
    made = []
    for number in range(count):
        body = jobs.chat_body(number, latency_ms(number)) | {"model": MODEL}
        made.append(json.dumps({"endpoint": jobs.ENDPOINT, "body": body}))
    return made


def post_steadily(
    world: World,
    port: int,
    requests: Sequence[str],
    per_s: float,
    *,
    then: Callable[[], None] | None = None,
    at_s: float = 0,
) -> None:
    """Post the requests at an even pace, whatever the answers take; ``then`` is called ``at_s`` seconds after the first.

    Raises:
        RuntimeError: when a job was not accepted.
    """
    post_at(world, port, requests, [number / per_s for number in range(len(requests))], then=then, at_s=at_s)


def outcomes(world: World) -> list[Ended]:
    """Return what became of all jobs, in the order in which they came."""

    async def run(engine: AsyncEngine) -> list[Ended]:
        async with engine.connect() as connection:
            rows = await connection.execute(_JOBS)
            return [Ended(row.status, row.came, row.ended) for row in rows]

    return jobs.in_database(world, run)
