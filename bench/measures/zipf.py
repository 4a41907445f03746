"""`zipf`: a day of chat requests, few of them asked for very often and most once, with the cache and without."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import uvloop

from bench import jobs
from bench.figures import Figure, Must, median
from bench.load.open_loop import Answered, Crowd
from bench.traces import Request, zipf_day
from bench.world import World, get_json, reset_upstream

_DAY_S: Final = 86_400.0
_TTL_S: Final = 86_400.0
# The upstream is so much quicker than the trace says, the day much more: see the note.
_UPSTREAM_QUICKER: Final = 10
_WORKERS: Final = 2
_WAIT_S: Final = 60


def measure(world: World) -> list[Figure]:
    """Send the same day twice, without caches and with, each time from nothing."""
    sizes = world.sizes
    requests = list(zipf_day(requests=sizes.zipf_requests))
    with ExitStack() as stack:
        _, port = stack.enter_context(world.api())
        for _ in range(_WORKERS):
            stack.enter_context(world.worker())
        url = f"http://127.0.0.1:{port}"
        world.say(f"{len(requests):,} requests of a day in {sizes.zipf_s:.0f} s, without caches and with them")
        _day(world, url, requests[: len(requests) // 20], {"mode": "off"}, sizes.zipf_s / 20)  # everything is up
        without, calls_without = _day(world, url, requests, {"mode": "off"}, sizes.zipf_s)
        kept_s = _TTL_S * sizes.zipf_s / _DAY_S
        cached, calls_cached = _day(world, url, requests, {"mode": "default", "ttl_s": kept_s}, sizes.zipf_s)
    return _figures(requests, without, cached, calls_without, calls_cached, sizes.zipf_s)


def _day(
    world: World, url: str, requests: Sequence[Request], cache: dict[str, Any], seconds: float
) -> tuple[list[Answered], int]:
    """Send a day within so many seconds; return the answers and how many calls the upstream saw."""
    jobs.empty(world, workers_run=True)
    reset_upstream(world)
    answers = uvloop.run(_send(world, url, requests, cache, seconds))
    return answers, int(str(get_json(f"{world.simulator_url}/stats?last=0")["requests"]))


async def _send(
    world: World, url: str, requests: Sequence[Request], cache: dict[str, Any], seconds: float
) -> list[Answered]:
    async with Crowd(url, world.key, wait_s=_WAIT_S) as crowd:
        await crowd.send(crowd.post("/v1/cache/invalidate", b"{}"))
        whole = [crowd.post("/v1/jobs", _job(request, cache)) for request in requests]
        # The first one is due when the day begins and not at its moment, for the trace begins at midnight and may be cut short.
        span = requests[-1].at_s or 1.0
        return await crowd.send_at([request.at_s * seconds / span for request in requests], whole)


def _job(request: Request, cache: dict[str, Any]) -> bytes:
    latency_ms = round(request.latency_s * 1000 / _UPSTREAM_QUICKER, 1)
    body = request.body(jobs.MODEL) | {"sim": {"latency_ms": latency_ms}}
    return json.dumps({"endpoint": jobs.ENDPOINT, "body": body, "cache": cache}).encode()


def _figures(
    requests: Sequence[Request],
    without: Sequence[Answered],
    cached: Sequence[Answered],
    calls_without: int,
    calls_cached: int,
    seconds: float,
) -> list[Figure]:
    failed = sum(answer.status != 200 for answer in (*without, *cached))
    ends = Counter(answer.json["cache"]["status"] for answer in cached if answer.status == 200)
    before, after = (sum(answer.took_ms for answer in answers) / len(answers) for answers in (without, cached))
    whole = not failed and calls_without == len(requests) and sum(ends.values()) == len(requests)
    quicker = round(_DAY_S / seconds)
    told = ", ".join(f"{many} {status}" for status, many in sorted(ends.items()))
    note = (
        f"{len(requests):,} requests of 24 h for {len({request.entry for request in requests}):,} questions, {quicker:,} "
        f"times as fast; entries live for 24 h of the trace ({_TTL_S / quicker:.0f} s), from an empty cache; upstream times "
        f"only {_UPSTREAM_QUICKER} times as fast, which tells against the cache: more requests meet one under way and wait "
        f"for it; how they ended: {told}; {failed} failed. POST with Prefer: wait, from when it was due to its answer"
    )
    fewer = 100 * (1 - calls_cached / calls_without) if whole else math.nan
    sooner = 100 * (1 - after / before) if whole else math.nan
    return [
        Figure("zipf", "upstream calls", calls_cached, "", None, calls_without, note),
        Figure("zipf", "upstream calls down by", fewer, "%", Must("≥", 50)),
        Figure("zipf", "mean latency", after, "ms", None, before),
        Figure("zipf", "mean latency down by", sooner, "%", Must("≥", 50)),
        Figure(
            "zipf",
            "median latency",
            median([answer.took_ms for answer in cached]),
            "ms",
            None,
            median([answer.took_ms for answer in without]),
        ),
    ]
