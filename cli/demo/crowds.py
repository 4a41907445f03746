"""The last steps of the demo: a thousand passages at once, and a worker killed in the middle of 500 jobs."""

import json
import os
import signal
from collections import Counter
from datetime import datetime

import numpy as np

from cli.demo.api import Api, Json, accepted, chat, embedding, ensure, passages
from cli.demo.scenes import Scenery, wait_for_group
from cli.demo.show import Stopwatch

PASSAGES = 1000
_WORDS = 45
_QUESTION = "Why is it cheaper to heat a house with electricity taken from outdoor air than with gas?"
CROWD = 500
# Long enough that all 500 run at the same time, short enough for a demo.
_LATENCY_MS = 3000
_PATIENCE_S = 40.0


def embed(scenery: Scenery) -> None:
    """Embed a thousand passages as a thousand jobs, and use them."""
    show, api = scenery.show, scenery.api
    show.scene(f"{PASSAGES:,} passages at once")
    cut = passages([scenery.text(path.name) for path in sorted(scenery.texts.glob("*.md"))], PASSAGES, _WORDS)
    answer = api.post_lines("/v1/jobs/bulk", map(embedding, cut))
    group = accepted(answer)
    show.good(f"POST /v1/jobs/bulk with {PASSAGES:,} lines: 202 after {answer.ms:.0f} ms")
    ended = wait_for_group(scenery, group, "embedded", _PATIENCE_S).body
    ensure(_counts(ended) == {"succeeded": PASSAGES}, f"the group ended as {_counts(ended)}")
    seconds = (_moment(ended["finished_at"]) - _moment(ended["created_at"])).total_seconds()
    show.good(f"{PASSAGES:,} jobs in {seconds:.1f} s: {PASSAGES / seconds:,.0f} jobs/s, each stored and counted")
    jobs = list(api.pages(f"/v1/jobs?group_id={group['id']}"))
    ensure(len({job["id"] for job in jobs}) == PASSAGES, f"the group lists {len(jobs)} jobs")
    show.say(f"jobs claimed together: {_sizes(jobs)}")
    _ask(scenery, jobs[::-1], cut)


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
    show, api = scenery.show, scenery.api
    show.scene(f"A worker is killed in the middle of {CROWD} running jobs")
    steering = {"latency_ms": _LATENCY_MS, "tokens": 16}
    simulator = Api(scenery.stage.simulator_url)
    simulator.post("/control", {"reset_stats": True})
    requests = [chat("sim/chat", f"Question {number}", sim=steering) | {"lane": "bulk"} for number in range(CROWD)]
    group = accepted(api.post_lines("/v1/jobs/bulk", requests))
    seen = simulator.get(f"/stats?min_in_flight={CROWD}&wait_s=15&last=0").body
    ensure(seen["reached"], f"only {seen['in_flight']} of {CROWD} jobs ran at once")
    show.say(f"the simulator (no real model: sim/chat, {_LATENCY_MS / 1000:.0f} s an answer) holds {CROWD} requests")
    (victim, held), watch = scenery.stage.busiest_worker(), Stopwatch()
    os.kill(victim, signal.SIGKILL)
    show.say(f"SIGKILL to worker process {victim}, which runs {held} of them")
    ended = wait_for_group(scenery, group, "finished", _PATIENCE_S).body
    show.good(f"all {CROWD} ended {watch.seconds:.1f} s after the kill: {json.dumps(_counts(ended))}")
    ensure(_counts(ended) == {"succeeded": CROWD}, f"the group ended as {_counts(ended)}")
    _account(scenery, group, simulator.get("/stats?last=0").body)
    simulator.close()


def _account(scenery: Scenery, group: Json, seen: Json) -> None:
    """Each job succeeded in exactly one attempt; the lost ones are told as lost."""
    show, api = scenery.show, scenery.api
    jobs = list(api.pages(f"/v1/jobs?group_id={group['id']}"))
    ensure(len({job["id"] for job in jobs}) == CROWD, f"the group lists {len(jobs)} jobs")
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


def _counts(group: Json) -> dict[str, int]:
    """The statuses that the group's jobs have, each with how many."""
    return {status: count for status, count in group["counts"].items() if count}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
