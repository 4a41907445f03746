"""Many jobs at once: a thousand passages, and a worker killed in the middle of 500 jobs."""

import json
import os
import signal
from collections import Counter

import numpy as np

from cli.demo.api import Json, accepted, chat, embedding, ensure, passages
from cli.demo.groups import counts, finished, wait_for_group
from cli.demo.scenery import Scenery
from cli.demo.show import Stopwatch

PASSAGES = 1000
_WORDS = 45
_QUESTION = "Why is it cheaper to heat a house with electricity taken from outdoor air than with gas?"
CROWD = 500
# Long enough that all 500 run at the same time, short enough for a demo.
_LATENCY_MS = 3000


def embed(scenery: Scenery) -> None:
    """Embed a thousand passages as a thousand jobs, and use them."""
    show = scenery.show
    show.scene(f"{PASSAGES:,} passages at once")
    cut = passages([scenery.text(path.name) for path in sorted(scenery.texts.glob("*.md"))], PASSAGES, _WORDS)
    answer = scenery.api.post_lines("/v1/jobs/bulk", map(embedding, cut))
    show.good(f"POST /v1/jobs/bulk with {PASSAGES:,} lines: 202 after {answer.ms:.0f} ms")
    group = finished(scenery, accepted(answer), PASSAGES, "embedded")
    show.good(
        f"{PASSAGES:,} jobs in {group.seconds:.1f} s: {PASSAGES / group.seconds:,.0f} jobs/s, each stored and counted"
    )
    show.say(f"jobs claimed together: {_sizes(group.jobs)}")
    _ask(scenery, group.jobs, cut)


def _sizes(jobs: list[Json]) -> str:
    """The batch sizes seen, each with the number of batches."""
    jobs_of_size = Counter(job["timing"]["batch_size"] for job in jobs)
    batches = [f"{count // size} × {size}" for size, count in sorted(jobs_of_size.items(), reverse=True)]
    return (
        f"{min(jobs_of_size)} to {max(jobs_of_size)} a batch ({', '.join(batches[:6])}{', …' if batches[6:] else ''})"
    )


def _ask(scenery: Scenery, jobs: list[Json], cut: list[str]) -> None:
    """Find the passage nearest to a question: the vectors are good for something. `jobs` in the order of `cut`."""
    asked = accepted(scenery.api.post("/v1/jobs", embedding(_QUESTION)))
    asked = scenery.api.get(f"{asked['status_url']}?wait=30").body
    vectors = np.array([job["result"]["data"][0]["embedding"] for job in jobs])
    question = np.array(asked["result"]["data"][0]["embedding"])
    likeness = vectors @ question / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(question))
    scenery.show.say(f"nearest to “{_QUESTION}” ({likeness.max():.2f}):")
    scenery.show.quote(f"… {cut[int(likeness.argmax())]} …", lines=4)


def kill(scenery: Scenery) -> None:
    """Kill a worker while 500 jobs run, and account for every one of them."""
    show, api, simulator = scenery.show, scenery.api, scenery.simulator
    show.scene(f"A worker is killed in the middle of {CROWD} running jobs")
    steering = {"latency_ms": _LATENCY_MS, "tokens": 16}
    simulator.post("/control", {"reset_stats": True})
    requests = [chat("sim/chat", f"Question {number}", sim=steering) | {"lane": "bulk"} for number in range(CROWD)]
    group = accepted(api.post_lines("/v1/jobs/bulk", requests))
    seen = simulator.get(f"/stats?min_in_flight={CROWD}&wait_s=15&last=0").body
    ensure(seen["reached"], f"only {seen['in_flight']} of {CROWD} jobs ran at once")
    show.say(f"the simulator (no real model: sim/chat, {_LATENCY_MS / 1000:.0f} s an answer) holds {CROWD} requests")
    victim, watch = scenery.stage.busiest_worker(), Stopwatch()
    os.kill(victim, signal.SIGKILL)
    show.say(f"SIGKILL to worker process {victim}")
    ended = wait_for_group(scenery, group, "finished")
    show.good(f"all {CROWD} ended {watch.seconds:.1f} s after the kill: {json.dumps(counts(ended))}")
    _account(scenery, finished(scenery, ended, CROWD).jobs, simulator.get("/stats?last=0").body)


def _account(scenery: Scenery, jobs: list[Json], seen: Json) -> None:
    """Each job succeeded in exactly one attempt; the lost ones are told as lost."""
    show, api = scenery.show, scenery.api
    outcomes: Counter[str] = Counter()
    for job in jobs:
        tried = [attempt["outcome"] for attempt in api.get(f"/v1/jobs/{job['id']}/attempts").body["data"]]
        ensure(tried.count("succeeded") == 1, f"{job['id']} has the attempts {tried}")
        ensure(job["result"] is not None, f"{job['id']} has no result")
        outcomes.update(tried)
    lost = sum(outcomes.values()) - CROWD
    ensure(lost > 0, "the killed worker held no job")
    show.good(
        f"{CROWD} jobs, {CROWD} stored results, each from exactly one succeeded attempt; attempts: {dict(outcomes)}"
    )
    model = seen["models"]["sim/chat"]
    counted = ", ".join(f"{model[name]} {name}" for name in ("requests", "completed", "cancelled"))
    show.say(f"the simulator's own count: {counted}; the {lost} cut off by the kill were asked a second time")
    ensure(model["completed"] >= CROWD, "the simulator did not answer that often")
    show.good("a lost attempt costs a second call, never a second result")
