"""`prewarm`: a schedule fills 10,000 entries while users are served, who must not notice."""

import asyncio
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import uvloop

from bench import jobs
from bench.figures import Figure, Must, percentile, shown
from bench.load.open_loop import Answered, Crowd
from bench.world import World

_LIVE_PER_S: Final = 50.0
_WORKERS: Final = 2
_CLIENTS: Final = 64
_WARM_UP_S: Final = 3.0
# What a run leaves behind (webhook look-ups, tallies) is over by then.
_REST_S: Final = 1.0
_LOOK_S: Final = 0.1
_LATENCY_MS: Final = 200
_MODEL: Final = jobs.MODEL
_TEMPLATE: Final[dict[str, Any]] = {
    "endpoint": jobs.ENDPOINT,
    "body": {
        "model": _MODEL,
        "messages": [
            {"role": "system", "content": "You write the teaser of a page in two sentences."},
            {"role": "user", "content": "For {{segment}}, about {{category}}."},
        ],
        "temperature": 0,
    },
}
_HITS: Final = "SELECT count(*) FROM jobs WHERE status = 'succeeded' AND cache ->> 'status' = 'hit'"


@dataclass(slots=True)
class _Seen:
    """When nothing but live traffic was there, and when a run was; what the runs told of themselves."""

    quiet: list[tuple[float, float]] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)


def measure(world: World) -> list[Figure]:
    """Send steady traffic all the time, and run the schedule now and then; compare what users saw."""
    side, needed = world.sizes.prewarm_side, world.sizes.prewarm_samples
    jobs.empty(world)
    with ExitStack() as stack:
        _, port = stack.enter_context(world.api())
        for _ in range(_WORKERS):
            stack.enter_context(world.worker())
        url = f"http://127.0.0.1:{port}"
        world.say(
            f"{side * side:,} entries are prewarmed beside {_LIVE_PER_S:.0f} live jobs/s, until {needed} were seen"
        )
        seen, answers = uvloop.run(_side_by_side(world, url, side, needed))
        jobs.empty(world, workers_run=True)
        world.say(f"{side * side:,} live requests for what was prewarmed")
        hits, served = uvloop.run(_ask_for_all(world, url, side))
        stored = jobs.scalar(world, _HITS)
    if stored != hits:
        raise RuntimeError(f"{hits} hits were answered, {stored} are stored")
    return _figures(seen, answers, side * side, hits, served)


def _figures(
    seen: _Seen, answers: Sequence[Answered], entries: int, hits: int, served: Sequence[float]
) -> list[Figure]:
    failed = sum(answer.status != 200 for answer in answers)
    without, beside = _within(answers, seen.quiet), _within(answers, seen.busy)
    whole = not failed and all(run["succeeded"] == run["planned"] == entries for run in seen.runs)
    before, after = percentile(without, 0.99), percentile(beside, 0.99)
    took = [end - begin for begin, end in seen.busy]
    note = (
        f"{_LIVE_PER_S:.0f} live jobs/s all the time (POST with Prefer: wait, upstream {_LATENCY_MS} ms, from when a request was "
        f"due to its answer); {len(seen.runs)} run(s) of {entries:,} jobs of the same model on {_WORKERS} workers, with time "
        f"without before and after, took {', '.join(shown(seconds) for seconds in took)} s; all of {len(without):,} requests "
        f"without and {len(beside):,} beside a run are pooled; {failed} failed"
    )
    return [
        Figure(
            "prewarm", "live p50 beside a prewarm", percentile(beside, 0.5), "ms", None, percentile(without, 0.5), note
        ),
        Figure("prewarm", "live p99 beside a prewarm", after, "ms", None, before),
        Figure("prewarm", "live p99, times without", after / before if whole else math.nan, "×", Must("≤", 1.2)),
        Figure("prewarm", "entries warmed a second", entries * len(took) / sum(took), "/s"),
        Figure("prewarm", "live requests that are hits afterwards", hits, f"of {entries:,}", Must("≥", entries)),
        Figure("prewarm", f"such a hit, {_CLIENTS} clients, p50", percentile(served, 0.5), "ms"),
    ]


def _within(answers: Sequence[Answered], spans: Sequence[tuple[float, float]]) -> list[float]:
    return [answer.took_ms for answer in answers if any(begin <= answer.at < end for begin, end in spans)]


async def _side_by_side(world: World, url: str, side: int, needed: int) -> tuple[_Seen, list[Answered]]:
    over, seen = asyncio.Event(), _Seen()

    def moments() -> Iterator[float]:
        number = 0
        while not over.is_set():
            yield number / _LIVE_PER_S
            number += 1

    async with Crowd(url, world.key, wait_s=30) as live, Crowd(url, world.key) as office:
        requests = (live.post("/v1/jobs", body) for body in _live_bodies())
        async with asyncio.TaskGroup() as group:
            traffic = group.create_task(live.send_at(moments(), requests))
            try:
                await _alternate(world, office, side, needed, seen)
            finally:
                over.set()
    return seen, traffic.result()


def _live_bodies() -> Iterator[bytes]:
    """Requests of 1 kB that no cache can answer."""
    number = 0
    while True:
        body = json.dumps({"endpoint": jobs.ENDPOINT, "body": jobs.chat_body(number, _LATENCY_MS)})
        yield body.encode()
        number += 1


async def _alternate(world: World, office: Crowd, side: int, needed: int, seen: _Seen) -> None:
    schedule = {
        "kind": "prewarm", "cron": "0 3 * * *", "paused": True, "template": _template(), "ttl_s": 3600,
        # Longer than the entries live: each run makes all of them anew.
        "refresh_before_s": 86_400,
        "matrix": {"segment": _names("segment", side), "category": _names("category", side)},
    }  # fmt: skip
    made = (await office.send(office.post("/v1/schedules", json.dumps(schedule).encode()))).json
    path = f"/v1/schedules/{made['id']}"
    await asyncio.sleep(_WARM_UP_S)
    quiet_s = needed / _LIVE_PER_S / 2
    await _quiet(seen, quiet_s)
    while sum(end - begin for begin, end in seen.busy) * _LIVE_PER_S < needed:
        run = await _run(office, path)
        seen.runs.append(run)
        begin, end = (datetime.fromisoformat(run[name]).timestamp() for name in ("created_at", "finished_at"))
        seen.busy.append((begin, end))
        world.say(f"a run took {end - begin:.1f} s")
        await asyncio.sleep(_REST_S)
        await _quiet(seen, quiet_s)


async def _quiet(seen: _Seen, seconds: float) -> None:
    began = time.time()
    await asyncio.sleep(seconds)
    seen.quiet.append((began, time.time()))


async def _run(office: Crowd, path: str) -> dict[str, Any]:
    """Run the schedule now and wait for the end."""
    begun = await office.send(office.post(f"{path}/run", b""))
    if begun.status != 202:
        raise RuntimeError(f"{begun.status}: {begun.body.decode(errors='replace')[:300]}")
    while True:
        run: dict[str, Any] = (await office.send(office.get(f"{path}/runs?limit=1"))).json["data"][0]
        if run["status"] != "running":
            return run
        await asyncio.sleep(_LOOK_S)


async def _ask_for_all(world: World, url: str, side: int) -> tuple[int, list[float]]:
    """Ask for every combination as a live page would; return how many were answered from the cache, and the times in ms."""
    template = json.dumps(_template())
    bodies = [
        template.replace("{{segment}}", segment).replace("{{category}}", category).encode()
        for segment in _names("segment", side)
        for category in _names("category", side)
    ]
    async with Crowd(url, world.key) as crowd:
        requests = iter([crowd.post("/v1/jobs", body) for body in bodies])
        answers: list[Answered] = []

        async def client() -> None:
            for request in requests:
                answers.append(await crowd.send(request))  # noqa: PERF401 - another client goes on meanwhile

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    hits = [answer for answer in answers if answer.status == 200 and answer.json["cache"]["status"] == "hit"]
    return len(hits), [answer.took_ms for answer in hits]


def _template() -> dict[str, Any]:
    return {**_TEMPLATE, "body": {**_TEMPLATE["body"], "sim": {"latency_ms": _LATENCY_MS}}}


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind} {number}" for number in range(count)]
