"""`complexity`: prompts routed by how hard they are against the large model for all, and the classifier by itself."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import jobs, upstreams
from bench.figures import Figure, Must, percentile
from bench.measures.drain import QUEUE_DONE
from bench.world import World
from core.embedding import shared_embedder
from policies.complexity import TIERS, classify, gist
from training.complexity.labelled import Prompt, read_later, read_prompts
from training.complexity.report import exact, far_too_low

LARGE: Final = "sim/large"
_PROMPTS: Final = 1_000
#: How much of the traffic each tier has, in percent: mostly everyday questions.
_MIX: Final[Mapping[str, int]] = {"simple": 70, "medium": 20, "complex": 7, "reasoning": 3}
_PER_S: Final = 100.0
_WARM_UP: Final = 300
_DEMANDING: Final = ("complex", "reasoning")
_ENDED: Final = text(
    "SELECT metadata->>'tier' AS tier, coalesce(route_model, model) AS model, status, "
    "1000 * extract(epoch FROM finished_at - created_at)::float8 AS took_ms FROM jobs"
)


@dataclass(frozen=True, slots=True)
class _Ended:
    tier: str
    model: str
    took_ms: float


def measure(world: World) -> list[Figure]:
    """Only prompts that the classifier was not trained on."""
    unseen = [*(prompt for prompt in read_prompts() if prompt.held_out), *read_later()]
    return [*_classifier(), *_routing(world, _mixed(unseen))]


def _classifier() -> list[Figure]:
    kept = [prompt for prompt in read_prompts() if prompt.held_out]
    embedder = shared_embedder()
    told, took = [], []
    # The second time counts: the first one fills the table of words.
    for prompt in [*kept, *kept]:
        began = time.perf_counter()
        verdict = classify(prompt.text, embedder.embed([gist(prompt.text)]).vectors[0])
        took.append(1000 * (time.perf_counter() - began))
        told.append(TIERS.index(verdict.tier))
    places = np.array(told[len(kept) :])
    true = np.array([TIERS.index(prompt.tier) for prompt in kept])
    note = f"the {len(kept)} prompts of training/complexity that are kept out of training; with embedding, on one core"
    return [
        Figure("classifier", "exact tier, held-out prompts", 100 * exact(places, true), "%", Must("≥", 85), note=note),
        Figure("classifier", "two tiers too low", 100 * far_too_low(places, true), "%", Must("≤", 3)),
        Figure("classifier", "a prompt, mean", fmean(took[len(kept) :]), "ms", Must("≤", 0.5)),
        Figure("classifier", "a prompt, p99", percentile(took[len(kept) :], 0.99), "ms"),
    ]


def _mixed(prompts: Sequence[Prompt]) -> list[Prompt]:
    """As many of each tier as the mix says, evenly spread over all there are of it: no luck of a draw is involved."""
    chosen = []
    for tier, percent in _MIX.items():
        own = [prompt for prompt in prompts if prompt.tier == tier]
        count = _PROMPTS * percent // 100
        chosen += [(number / count, own[number * len(own) // count]) for number in range(count)]
    return [prompt for _, prompt in sorted(chosen, key=lambda pair: pair[0])]


def _routing(world: World, prompts: Sequence[Prompt]) -> list[Figure]:
    large, routed = _run(world, prompts, LARGE), _run(world, prompts, "auto")
    served = [job.model == LARGE for job in routed if job.tier in _DEMANDING]
    used = {model: sum(job.model == model for job in routed) for model in sorted({job.model for job in routed})}
    shares = ", ".join(f"{percent} % {tier}" for tier, percent in _MIX.items())
    note = (
        f"simulated models with the first-token times and speeds of real ones; {len(prompts):,} prompts, none of them trained "
        f"on: {shares}; " + ", ".join(f"{count} on {model}" for model, count in used.items())
    )
    return [
        Figure("routing", f"mean response time, all on {LARGE}", _mean(large, _MIX), "ms"),
        Figure("routing", "mean response time, model auto", _mean(routed, _MIX), "ms", note=note),
        Figure("routing", "mean response time down by", _down(large, routed, _MIX), "%", Must("≥", 50)),
        Figure("routing", f"complex and reasoning prompts on {LARGE}", 100 * fmean(served), "%", Must("≥", 95)),
        Figure("routing", "down by, were all tiers as frequent", _down(large, routed, dict.fromkeys(_MIX, 25)), "%"),
    ]


def _down(before: Iterable[_Ended], after: Iterable[_Ended], mix: Mapping[str, int]) -> float:
    return 100 * (1 - _mean(after, mix) / _mean(before, mix))


def _mean(ended: Iterable[_Ended], mix: Mapping[str, int]) -> float:
    """The mean response time in ms, were the tiers as frequent as `mix` says."""
    by_tier: dict[str, list[float]] = {tier: [] for tier in mix}
    for job in ended:
        by_tier[job.tier].append(job.took_ms)
    return sum(percent * fmean(by_tier[tier]) for tier, percent in mix.items()) / sum(mix.values())


def _run(world: World, prompts: Sequence[Prompt], model: str) -> list[_Ended]:
    world.say(f"{len(prompts):,} prompts for {model}, {_PER_S:.0f} a second")
    jobs.empty(world)
    requests = [_request(prompt, model, prompt.tier) for prompt in prompts]
    warm_up = [_request(prompt, model, "") for prompt in prompts[:_WARM_UP]]
    with world.api() as (_, port), world.worker():
        # Until the worker is up, its connections are open and its limits have grown with the traffic.
        upstreams.post_steadily(world, port, warm_up, _PER_S)
        jobs.wait_for(world, QUEUE_DONE, 60)
        upstreams.post_steadily(world, port, requests, _PER_S)
        jobs.wait_for(world, QUEUE_DONE, 60)
    ended = jobs.in_database(world, _read)
    if len(ended) < len(prompts):
        raise RuntimeError(f"only {len(ended)} of {len(prompts)} jobs brought a result")
    return ended


def _request(prompt: Prompt, model: str, tier: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": prompt.text}]}
    return json.dumps({"endpoint": jobs.ENDPOINT, "body": body, "metadata": {"tier": tier}})


async def _read(engine: AsyncEngine) -> list[_Ended]:
    async with engine.connect() as connection:
        rows = await connection.execute(_ENDED)
        return [_Ended(row.tier, row.model, row.took_ms) for row in rows if row.tier and row.status == "succeeded"]
