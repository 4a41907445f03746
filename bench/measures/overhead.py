"""`overhead`: what the queue adds to a model call when nothing else is going on."""

import json
import time
from typing import Any
from urllib.parse import urlsplit

from bench import jobs
from bench.baseline import run as baseline
from bench.figures import Figure, Must, median, percentile
from bench.load.order import Order, run
from bench.world import World

_BODIES = 128
_SETTLE_S = 3.0


def measure(world: World) -> list[Figure]:
    """POST → result in the client's hands, for an upstream that answers at once, less the upstream's own time."""
    jobs.empty(world)
    count, few = world.sizes.round_trips, world.sizes.round_trips_baseline
    upstream = median(_upstream(world, count))
    with world.api() as (_, port), world.worker():
        _warm(world, port, "/v1/jobs", "long_poll")
        polled = _trips(
            world, Order("long_poll", "127.0.0.1", port, "/v1/jobs", _requests(), world.key, requests=count)
        )
        order = Order("prefer", "127.0.0.1", port, "/v1/jobs", _requests(), world.key, requests=count, prefer_wait=20)
        preferred = _trips(world, order)
    jobs.empty(world)
    baseline.prepare(world)
    with baseline.api(world) as port, baseline.worker(world, "per_thread"):
        _warm(world, port, "/jobs", "poll")
        base = _trips(world, Order("poll", "127.0.0.1", port, "/jobs", _requests(), requests=few))
    note = (
        f"one client, one job after the other; {upstream:.2f} ms (the median of the same request sent straight to the upstream) "
        "are taken off; the baseline has no long-poll: its client asks every millisecond"
    )
    base50, base99 = median(base) - upstream, percentile(base, 0.99) - upstream
    figures = []
    for name, times in (("POST, then GET ?wait", polled), ("POST with Prefer: wait", preferred)):
        p50, p99 = median(times) - upstream, percentile(times, 0.99) - upstream
        figures.append(Figure("overhead", f"{name}, p50", p50, "ms", Must("≤", 4.5), base50, note))
        figures.append(Figure("overhead", f"{name}, p99", p99, "ms", Must("≤", 12), base99, note))
    return figures


def _requests() -> list[str]:
    return jobs.job_requests(_BODIES, latency_ms=0)


def _warm(world: World, port: int, path: str, way: Any) -> None:
    """Until the first jobs come back: the worker is up, connections are open, statements are prepared."""
    run(Order(way, "127.0.0.1", port, path, _requests(), world.key, requests=50))
    time.sleep(_SETTLE_S)


def _trips(world: World, order: Order) -> list[float]:
    world.say(f"{order.requests} round trips ({order.way}) through {order.path}")
    told = run(order)
    if told["failures"]:
        raise RuntimeError(f"{told['failures']} of {order.requests} jobs brought no result: {told['last_body']}")
    times: list[float] = told["latencies_ms"]
    return times


def _upstream(world: World, count: int) -> list[float]:
    parts = urlsplit(world.simulator_url)
    bodies = [json.dumps(jobs.chat_body(number, 0)) for number in range(_BODIES)]
    order = Order("plain", str(parts.hostname), int(parts.port or 80), jobs.ENDPOINT, bodies, requests=count)
    return _trips(world, order)
