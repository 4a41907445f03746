"""`hedging`: a second request for calls that take long, where 2 % of all calls are ten times slower."""

import json
import random
import urllib.request
from dataclasses import dataclass

from bench import jobs, upstreams
from bench.figures import Figure, Must, percentile
from bench.measures.drain import QUEUE_DONE
from bench.upstreams import Upstream
from bench.world import World, get_json

_PER_S = 100
_WARM_UP_S = 6.0
_SECONDS = 30.0
_SLOW = {"rate": 0.02, "times": 10}
_LATENCY_MS = (150.0, 250.0)


@dataclass(frozen=True, slots=True)
class _Run:
    p50: float
    p99: float
    calls: float
    """Upstream calls per job."""


def measure(world: World) -> list[Figure]:
    """The same jobs with `hedge = false` and with `hedge = true`, on two deployments."""
    plain, hedged = _run(world, "hedge = false"), _run(world, "hedge = true")
    note = (
        f"simulated: two upstreams of {_LATENCY_MS[0]:.0f} to {_LATENCY_MS[1]:.0f} ms, 2 % of the calls take 10 × as long; "
        f"{_PER_S} jobs/s for {_SECONDS:.0f} s, after {_WARM_UP_S:.0f} s to learn the p95; p50 {plain.p50:.0f} ms without "
        f"and {hedged.p50:.0f} ms with hedging"
    )
    extra = 100 * (hedged.calls - plain.calls)
    return [
        Figure("hedging", "p99 without hedging", plain.p99, "ms"),
        Figure("hedging", "p99 with hedging", hedged.p99, "ms", note=note),
        Figure("hedging", "p99 down by", 100 * (1 - hedged.p99 / plain.p99), "%", Must("≥", 60)),
        Figure("hedging", "more upstream calls", extra, "%", Must("≤", 5)),
    ]


def _run(world: World, policy: str) -> _Run:
    world.say(f"{_PER_S} jobs/s for {_WARM_UP_S + _SECONDS:.0f} s, {policy}")
    dice = random.Random(1)
    latencies = [dice.uniform(*_LATENCY_MS) for _ in range(int((_WARM_UP_S + _SECONDS) * _PER_S))]
    requests = upstreams.bodies(len(latencies), latencies.__getitem__)
    jobs.empty(world)
    with upstreams.upstreams(world, ["left", "right"], policy) as (own, servers):
        for server in servers:
            _control(server, {"slow_calls": _SLOW})
        with own.api() as (_, port), own.worker():
            upstreams.post_steadily(own, port, requests, _PER_S)
            jobs.wait_for(own, QUEUE_DONE, 60)
        calls = sum(int(str(get_json(f"{server.url}/stats?last=0")["requests"])) for server in servers)
    ended = upstreams.outcomes(world)
    if any(job.status != "succeeded" for job in ended):
        raise RuntimeError("not every job brought a result")
    took = [job.took_ms for job in ended[int(_WARM_UP_S * _PER_S) :]]
    return _Run(percentile(took, 0.5), percentile(took, 0.99), calls / len(ended))


def _control(server: Upstream, change: dict[str, object]) -> None:
    request = urllib.request.Request(f"{server.url}/control", json.dumps(change).encode())  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass
