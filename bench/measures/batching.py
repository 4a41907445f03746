"""`batching`: jobs that share upstream calls, against one job per call and against batches of fixed size with a timer."""

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from bench import jobs
from bench.figures import Figure, Must, median, percentile
from bench.measures.drain import QUEUE_DONE
from bench.processes import Process
from bench.traffic import SHAPES, post_at
from bench.upstreams import outcomes
from bench.world import World
from core.settings import LANES

_SLOTS: Final = 4  # as the simulated accelerator has
_MERGED, _SINGLE = "bench/gpu", "bench/gpu-single"
# Sizes with timers in ms; `bench.timed.app` reads them out of the name.
_TIMED: Final = tuple(f"bench/gpu@{size}-{timer}" for size, timer in ((4, 10), (8, 20), (16, 20), (32, 50)))
_SECONDS: Final = 3.0
# Which size and timer is best for a load is found out in rounds of its own: the luckiest of four would be better than it is.
_TRIALS: Final = 2
_ROUNDS: Final = 7
# Of seven ratios all but one lie above their true middle by chance in 1 of 16 cases: the second smallest bounds it from below.
_SURELY: Final = 1
_CONFIDENCE: Final = "94 %"
_WARM_UP: Final = ("steady", 60.0)
_LOADS: Final = (("steady", 60.0), ("steady", 300.0), ("bursty", 100.0), ("bursty", 300.0), ("ramp", 600.0))
# Where one job per call is long overwhelmed: 4 slots of 52 ms each do 77 calls a second.
_FLOODS: Final = (("steady", 400.0), ("bursty", 400.0), ("ramp", 700.0))
_DEPLOYMENT: Final = """
[[deployments]]
name = "{name}"
model = "{model}"
provider = "openai"
base_url = "{url}/v1"
upstream_model = "sim/gpu"
endpoints = ["/v1/embeddings"]
max_concurrency = {slots}
min_concurrency = {slots}
merge_items = {items}
"""

_Load = tuple[str, float]


@dataclass(slots=True)
class _Seen:
    """Of each round of a load the p95 from accepted to stored; of the last one results a second while the traffic lasted.

    A round of one batcher is a pair with the same round of another.
    """

    rounds_ms: list[float] = field(default_factory=list)
    per_s: float = 0.0

    @property
    def p95(self) -> float:
        """The middle round's: one stall of the machine decides nothing."""
        return median(self.rounds_ms)


def measure(world: World) -> list[Figure]:
    """Send the same traffic to our merger, to timed batchers and to one job per call, taking turns in the same worker."""
    batched = (_MERGED, *_TIMED)
    seen: dict[tuple[str, _Load], _Seen] = {}
    with _catalog(world) as own, own.api() as (_, port), _worker(own):
        jobs.empty(own, workers_run=True)
        for model in batched:
            _send(own, port, model, _WARM_UP, seen, finish=True)
        seen.clear()
        chosen = {load: _judge(own, port, load, seen) for load in _LOADS}
        for load in _FLOODS:
            _send(own, port, _MERGED, load, seen, finish=True)
            _send(own, port, _SINGLE, load, seen, finish=False)
            # What one job per call leaves behind would take the next one's time.
            jobs.empty(own, workers_run=True)
    return [*_throughput(seen), *_slowest(seen, chosen)]


def _judge(world: World, port: int, load: _Load, seen: dict[tuple[str, _Load], _Seen]) -> str:
    """Find the best size and timer for a load, then let it and our merger take turns; returns its name."""
    trials: dict[tuple[str, _Load], _Seen] = {}
    for _ in range(_TRIALS):
        for model in _TIMED:
            _send(world, port, model, load, trials, finish=True)
    best = min(_TIMED, key=lambda model: trials[model, load].p95)
    for number in range(_ROUNDS):
        for model in (_MERGED, best) if number % 2 else (best, _MERGED):
            _send(world, port, model, load, seen, finish=True)
    return best


def _throughput(seen: Mapping[tuple[str, _Load], _Seen]) -> list[Figure]:
    note = (
        "simulated accelerator (50 ms a call and 2 ms an item, 4 calls at once); results stored while the traffic lasted, by "
        "API, queue and one worker; the baseline has merge_items = 1"
    )
    figures = []
    for load in _FLOODS:
        ours, single = seen[_MERGED, load].per_s, seen[_SINGLE, load].per_s
        name = f"{load[0]}, {load[1]:.0f}/s offered"
        figures.append(Figure("batching", f"{name}: results", ours, "/s", baseline=single, note=note))
        ratio = ours / single if single else math.nan
        figures.append(Figure("batching", f"{name}: × one job per call", ratio, "×", Must("≥", 3)))
    return figures


def _slowest(seen: Mapping[tuple[str, _Load], _Seen], chosen: Mapping[_Load, str]) -> list[Figure]:
    figures, told = [], []
    worst, surely = dict.fromkeys(SHAPES, -math.inf), dict.fromkeys(SHAPES, -math.inf)
    for load, best in chosen.items():
        ours, theirs = seen[_MERGED, load], seen[best, load]
        name = f"{load[0]} {load[1]:.0f}/s"
        pairs = sorted(one / other for one, other in zip(ours.rounds_ms, theirs.rounds_ms, strict=True))
        told.append(
            f"{name}: {best.partition('@')[2].replace('-', ' or ')} ms, rounds {pairs[0]:.2f} to {pairs[-1]:.2f}"
        )
        figures.append(Figure("batching", f"{name}: p95", ours.p95, "ms", baseline=theirs.p95))
        worst[load[0]] = max(worst[load[0]], median(pairs))
        surely[load[0]] = max(surely[load[0]], pairs[_SURELY])
    note = (
        f"p95 from accepted to stored, on one worker; the middle of {_ROUNDS} rounds, in which our merger and the best of "
        f"{len(_TIMED)} sizes with a timer for the load take turns; which is best was found out before: {'; '.join(told)}. "
        f"Equally good is 1, and rounds scatter around it: worse is what lies above 1 with {_CONFIDENCE} confidence"
    )
    for shape in SHAPES:
        what = f"{shape}: p95 × best size and timer"
        figures.append(Figure("batching", what, worst[shape], "×", note=note))
        figures.append(Figure("batching", f"{what}, at least ({_CONFIDENCE})", surely[shape], "×", Must("≤", 1)))
    return figures


@contextmanager
def _catalog(world: World) -> Iterator[World]:
    path = world.folder / "catalog-gpu.toml"
    tables = [
        _DEPLOYMENT.format(
            name=model, model=model, url=world.simulator_url, slots=_SLOTS, items=1 if model == _SINGLE else 64
        )
        for model in (_MERGED, _SINGLE, *_TIMED)
    ]
    path.write_text("\n".join(tables))
    yield replace(world, catalog=path)


@contextmanager
def _worker(world: World) -> Iterator[Process]:
    """The same worker as `world.worker`, with timed batchers beside the merger."""
    lanes = ",".join(LANES)
    environment = world.environment(COATCHECK_WORKER_MAX_IN_FLIGHT="2048", COATCHECK_WORKER_LANES=lanes)
    arguments = ["-m", "celery", "--app", "bench.timed.app", "worker", "--queues", lanes, "--loglevel", "WARNING"]
    arguments += ["--hostname", f"timed-{os.getpid()}@{socket.gethostname()}", "--without-gossip", "--without-mingle"]
    with Process(arguments, environment, world.log("worker-timed")) as process:
        yield process


def _send(
    world: World, port: int, model: str, load: _Load, seen: dict[tuple[str, _Load], _Seen], *, finish: bool
) -> None:
    shape, per_s = load
    world.say(f"{model}: {shape}, {per_s:.0f}/s for {_SECONDS:.0f} s")
    moments = SHAPES[shape](per_s, _SECONDS)
    began = time.time()
    post_at(world, port, _bodies(model, len(moments)), moments)
    ended = time.time()
    if finish and not jobs.wait_for(world, QUEUE_DONE, 60):
        raise RuntimeError(f"{model}: not all jobs ended")
    done = [job for job in outcomes(world) if job.came >= began and job.status == "succeeded"]
    found = seen.setdefault((model, load), _Seen())
    found.rounds_ms.append(percentile([job.took_ms for job in done], 0.95))
    found.per_s = sum(job.ended <= ended for job in done) / (ended - began)


def _bodies(model: str, count: int) -> Sequence[str]:
    return [
        json.dumps(
            {
                "endpoint": "/v1/embeddings",
                # Rounds send the same texts.
                "cache": {"mode": "off"},
                "body": {"model": model, "input": f"a text of its own, number {number}"},
            }
        )
        for number in range(count)
    ]
