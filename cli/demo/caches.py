"""Answers that are there before anybody asks, and one answer for everybody who asks at the same time."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.demo.api import Json, chat, ensure, text_of
from cli.demo.groups import run_group
from cli.demo.scenery import Scenery
from cli.demo.show import Stopwatch

SEGMENTS = tuple(f"{age} {who}" for age in ("young", "older") for who in (
    "families", "couples", "students", "pensioners", "hikers", "cyclists", "campers", "commuters", "gardeners", "beginners",
))  # fmt: skip
CATEGORIES = (
    "tents",
    "stoves",
    "boots",
    "maps",
    "lamps",
    "rucksacks",
    "bicycles",
    "raincoats",
    "sleeping bags",
    "bottles",
)
ENTRIES = len(SEGMENTS) * len(CATEGORIES)
BURST = 200
_MODEL = "sim/chat"
# Long enough that the whole burst is there before the answer is.
_BURST_MS = 1000
_PATIENCE_S = 20.0
_LOOK_S = 0.05


def caches(scenery: Scenery) -> None:
    """A schedule fills the cache, the first user is served from it, and a burst of equal jobs shares one call."""
    scenery.show.scene("The answers are there before the users")
    _prewarm(scenery)
    _first_users(scenery)
    _burst(scenery)
    _tell_savings(scenery)


def _card(segment: str, category: str) -> Json:
    """What the page asks for and what the schedule fills: the same words. At temperature 0, so that the answer is kept."""
    return chat(_MODEL, f"Recommend {category} to {segment}, in one sentence.", temperature=0)


def _prewarm(scenery: Scenery) -> None:
    show, api = scenery.show, scenery.api
    schedule = {
        "name": "recommendations", "kind": "prewarm", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "ttl_s": 86_400,
        "template": _card("{{segment}}", "{{category}}"), "matrix": {"segment": SEGMENTS, "category": CATEGORIES},
    }  # fmt: skip
    made = api.post("/v1/schedules", schedule).body
    show.say(
        f"POST /v1/schedules: kind prewarm, {len(SEGMENTS)} segments × {len(CATEGORIES)} categories of {_MODEL} (simulated), "
        f"next at {made['next_runs'][0]}"
    )
    watch = Stopwatch()
    api.post(f"/v1/schedules/{made['id']}/run")
    run = _ended(scenery, made["id"])
    told = {name: run[name] for name in ("planned", "succeeded", "failed", "over_budget")}
    ensure(run["succeeded"] == ENTRIES, f"the run ended with {told}")
    show.good(
        f"run now instead of at night: {told['succeeded']} of {told['planned']} answers kept after {watch.seconds:.1f} s"
    )


def _ended(scenery: Scenery, schedule: str) -> Json:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        run: Json = scenery.api.get(f"/v1/schedules/{schedule}/runs?limit=1").body["data"][0]
        if run["status"] != "running":
            return run
        ensure(time.monotonic() < deadline, f"after {_PATIENCE_S:.0f} s the run stands at {run['succeeded']} answers")
        time.sleep(_LOOK_S)


def _first_users(scenery: Scenery) -> None:
    """Those who were expected, and one who was not."""
    first, *others = [_asked(scenery, _card(segment, CATEGORIES[2])) for segment in SEGMENTS]
    unexpected = _asked(scenery, _card("somebody whom nobody expected", CATEGORIES[2]))
    rows = [
        _row("the first user, prewarmed", first),
        _row(f"{len(others)} more, prewarmed (median)", sorted(others, key=lambda asked: asked.ms)[len(others) // 2]),
        _row("one more, not prewarmed", unexpected),
    ]
    scenery.show.table(("", "x-coatcheck-cache", "ms", "USD"), rows, left=2)
    ensure(all(asked.cache == "hit" for asked in (first, *others)), "a prewarmed answer was not in the cache")
    ensure(unexpected.cache == "miss", f"the cache said {unexpected.cache} to a question that nobody had asked")
    scenery.show.good(
        f"the first user has the answer after {first.ms:.1f} ms instead of {unexpected.ms:.0f} ms; a hit is a job like any other:"
    )
    scenery.show.quote(first.job["status_url"], lines=2)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A job that has succeeded, and the milliseconds from its POST until the answer was here."""

    ms: float
    job: Json

    @property
    def cache(self) -> str:
        return str(self.job["cache"]["status"])


def _asked(scenery: Scenery, request: Json) -> _Asked:
    """Hand a job over and wait for its end."""
    watch = Stopwatch()
    job = scenery.api.post("/v1/jobs", request).body
    if job["finished_at"] is None:
        job = scenery.api.get(f"{job['status_url']}?wait=30").body
    ms = watch.seconds * 1000
    text_of(job)
    return _Asked(ms, job)


def _row(who: str, asked: _Asked) -> Sequence[str]:
    return (who, asked.cache, f"{asked.ms:,.1f}", asked.job["cost_usd"])


def _burst(scenery: Scenery) -> None:
    show, simulator = scenery.show, scenery.simulator
    simulator.post("/control", {"reset_stats": True})
    same: Any = chat(_MODEL, "What is new today?", temperature=0, sim={"latency_ms": _BURST_MS, "tokens": 16})
    group = run_group(scenery, [same] * BURST)
    calls = simulator.get("/stats?last=0").body["models"][_MODEL]["requests"]
    ended = Counter(job["cache"]["status"] for job in group.jobs)
    ensure(calls == 1, f"{BURST} identical jobs took {calls} upstream calls")
    ensure(len({text_of(job) for job in group.jobs}) == 1, "identical jobs got different answers")
    told = ", ".join(f"{many} {status}" for status, many in sorted(ended.items()))
    show.good(f"{BURST} identical jobs at once: 1 upstream call by the simulator's own count; cache.status: {told}")


def _tell_savings(scenery: Scenery) -> None:
    total = scenery.api.get("/v1/cache/stats").body["total"]
    seen = ", ".join(f"{total[name]:,} {name}" for name in ("hits", "coalesced", "misses"))
    scenery.show.say(
        f"GET /v1/cache/stats: {seen}; spared {total['saved_s']:.0f} s of waiting for models, {total['saved_tokens']:,} tokens "
        f"and {total['saved_usd']} USD at made-up prices"
    )
