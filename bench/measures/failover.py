"""`failover`: one of three deployments of a model dies while 200 jobs a second come in."""

import math
import time
from collections.abc import Sequence

from bench import jobs, upstreams
from bench.figures import Figure, Must, percentile
from bench.measures.drain import QUEUE_DONE
from bench.upstreams import Ended
from bench.world import World

_PER_S = 200
_LATENCY_MS = 200.0
_WARM_UP_S = 6.0
_CALM_S = 8.0
_AFTER_S = 12.0
_SLICE_S = 0.5
# A slice has a hundred jobs: its p99 is its second slowest job, which chance moves about.
_NORMAL = 1.25


def measure(world: World) -> list[Figure]:
    """Kill one upstream's process (connections reset, then refused) and see how the jobs fare."""
    seconds = _WARM_UP_S + _CALM_S + _AFTER_S
    world.say(f"{_PER_S} jobs/s for {seconds:.0f} s to three simulated upstreams, one of which is killed")
    requests = upstreams.bodies(int(seconds * _PER_S), lambda _: _LATENCY_MS)
    died: list[float] = []
    jobs.empty(world)
    with upstreams.upstreams(world, ["alpha", "beta", "gamma"]) as (own, servers):

        def kill() -> None:
            died.append(time.time())
            servers[1].process.kill()

        with own.api() as (_, port), own.worker(), own.worker():
            upstreams.post_steadily(own, port, requests, _PER_S, then=kill, at_s=_WARM_UP_S + _CALM_S)
            jobs.wait_for(own, QUEUE_DONE, 60)
    return _figures(upstreams.outcomes(world), died[0])


def _figures(ended: Sequence[Ended], died: float) -> list[Figure]:
    failed = sum(job.status != "succeeded" for job in ended)
    calm = [job for job in ended if died - _CALM_S <= job.came < died - 2 * _LATENCY_MS / 1000]
    normal = max(_p99_by_slice(calm, died - _CALM_S).values(), default=math.nan)
    after = _p99_by_slice([job for job in ended if job.came >= died - _SLICE_S], died - _SLICE_S)
    late = [at + _SLICE_S for at, p99 in after.items() if not p99 <= _NORMAL * normal]
    # Without all results there is no telling what was normal.
    back = math.nan if failed else max(late) - died if late else 0.0
    worst = max((job.took_ms for job in ended if job.came >= died - 1), default=math.nan)
    note = (
        f"simulated upstreams of {_LATENCY_MS:.0f} ms, one killed with SIGKILL under {_PER_S} jobs/s, two workers; p99 by half "
        f"seconds, normal is at most {_NORMAL:g} × the highest of the 8 s before ({normal:.0f} ms); "
        f"slowest job afterwards {worst:.0f} ms"
    )
    return [
        Figure("failover", "failed jobs when one of three deployments dies", failed, "jobs", Must("≤", 0), note=note),
        Figure("failover", "until p99 is back to normal", back, "s", Must("≤", 5)),
        Figure("failover", "slowest job after the death", worst, "ms"),
    ]


def _p99_by_slice(ended: Sequence[Ended], begin: float) -> dict[float, float]:
    """By the beginning of each slice of time, the p99 of what the jobs took that came in it."""
    slices: dict[float, list[float]] = {}
    for job in ended:
        slices.setdefault(begin + (job.came - begin) // _SLICE_S * _SLICE_S, []).append(job.took_ms)
    return {at: percentile(took, 0.99) for at, took in slices.items()}
