"""`cached`: answers from the exact cache over HTTP, and a thousand identical jobs at once."""

import json
import math
from contextlib import ExitStack
from typing import Final

from bench import jobs
from bench.figures import Figure, Must, percentile, shown
from bench.load.order import Order, Posted, run, run_post
from bench.measures.drain import QUEUE_DONE
from bench.world import World, get_json, reset_upstream

_CLIENTS: Final = 128
_ENTRIES: Final = 64
_PATH: Final = "/v1/jobs"
_CROWD: Final = 1000
_WORKERS: Final = 2
# Long enough that all of them are there before the first answer is: none of them may be a mere hit.
_CROWD_LATENCY_MS: Final = 1500
_HITS: Final = (
    "SELECT count(*) FROM jobs WHERE status = 'succeeded' AND cache ->> 'status' = 'hit' AND result IS NOT NULL"
)
_BY_STATUS: Final = (
    "SELECT coalesce(json_object_agg(told, many), '{}')::text FROM (SELECT CASE WHEN status = 'succeeded' THEN "
    "coalesce(cache ->> 'status', 'none') ELSE status END AS told, count(*) AS many FROM jobs GROUP BY 1) t"
)


def measure(world: World) -> list[Figure]:
    """Fill some entries by a real worker, then ask for them; afterwards the crowd."""
    return [*_exact(world), *_coalesced(world)]


def cacheable(count: int, **sim: object) -> list[str]:
    """Return bodies for `POST /v1/jobs` of 1 kB whose answers are kept, because they are not meant to vary."""
    made = []
    for number in range(count):
        body = jobs.chat_body(number) | {"temperature": 0, "sim": sim}
        made.append(json.dumps({"endpoint": jobs.ENDPOINT, "body": body}))
    return made


def kept(world: World, port: int, bodies: list[str]) -> None:
    """Have answers made by a worker, one after the other; afterwards they are in the cache.

    Raises:
        RuntimeError: when one of the jobs did not succeed.
    """
    told = run(Order("prefer", "127.0.0.1", port, _PATH, bodies, world.key, requests=len(bodies), prefer_wait=20))
    if told["failures"]:
        raise RuntimeError(f"not every answer was made: {told['last_body']}")


def _exact(world: World) -> list[Figure]:
    sizes = world.sizes
    jobs.empty(world)
    bodies = cacheable(_ENTRIES, latency_ms=0)
    with world.api() as (_, port), world.worker():
        world.say(f"{_ENTRIES} answers are made and kept")
        kept(world, port, bodies)
        jobs.empty(world, workers_run=True)
        reset_upstream(world)
        world.say(f"one client asks {sizes.single_posts} times, then {_CLIENTS} for {sizes.hits_s:.0f} s")
        one = run_post(
            Order("post", "127.0.0.1", port, _PATH, bodies, world.key, requests=sizes.single_posts), accepted_status=200
        )
        order = Order("post", "127.0.0.1", port, _PATH, bodies, world.key, clients=_CLIENTS, seconds=sizes.hits_s)
        many = run_post(order, accepted_status=200, warm_up=1.0, windows=3)
        stored, calls = jobs.scalar(world, _HITS), _calls(world)
    return _exact_figures(one, many, stored, calls)


def _exact_figures(one: Posted, many: Posted, stored: object, calls: int) -> list[Figure]:
    answers = one.accepted + many.accepted
    # A hit that is not stored as a finished job, or for which the upstream was asked, is none.
    whole = stored == answers and not one.failures + many.failures + calls
    rate = many.rate if whole else math.nan
    note = (
        f"{_ENTRIES} entries made by a worker before; bodies of 1 kB; {stored} finished jobs with cache hit in the table for "
        f"{answers} answers, {calls} upstream calls; {_CLIENTS} clients in closed loops, the middle of {len(many.rates)} "
        f"windows ({', '.join(shown(window) for window in many.rates)}/s); the generator took {many.generator_cpu:.0%} of a core"
    )
    return [
        Figure("cached", "exact hit, one client, p50", one.p50 if whole else math.nan, "ms", Must("≤", 2), note=note),
        Figure("cached", "exact hit, one client, p99", one.p99 if whole else math.nan, "ms"),
        Figure("cached", f"exact hits, {_CLIENTS} clients, each a stored job", rate, "/s", Must("≥", 2500)),
        Figure("cached", f"exact hit, {_CLIENTS} clients, p99", many.p99 if whole else math.nan, "ms"),
    ]


def _coalesced(world: World) -> list[Figure]:
    jobs.empty(world)
    body = cacheable(1, latency_ms=_CROWD_LATENCY_MS)
    with ExitStack() as stack:
        _, port = stack.enter_context(world.api())
        for _ in range(_WORKERS):
            stack.enter_context(world.worker())
        kept(world, port, cacheable(1, latency_ms=0))  # both sides are up
        jobs.empty(world, workers_run=True)
        reset_upstream(world)
        world.say(f"{_CROWD:,} identical jobs at once")
        order = Order("post", "127.0.0.1", port, _PATH, body, world.key, clients=_CROWD, requests=_CROWD)
        posted = run(order)
        jobs.wait_for(world, QUEUE_DONE, 30)
        ended: dict[str, int] = json.loads(str(jobs.scalar(world, _BY_STATUS)))
        calls = _calls(world)
    note = (
        f"{_CROWD:,} connections, one POST each, through one API process and {_WORKERS} workers; the upstream takes "
        f"{_CROWD_LATENCY_MS / 1000:.1f} s, the last POST was answered after {max(posted['answered']):.1f} s; how they ended: "
        f"{', '.join(f'{many} {status}' for status, many in sorted(ended.items()))}"
    )
    done = sum(many for status, many in ended.items() if status in ("miss", "coalesced", "hit"))
    return [
        Figure("cached", f"{_CROWD:,} identical jobs: upstream calls", calls, "", Must("≤", 1), note=note),
        Figure("cached", f"{_CROWD:,} identical jobs: finished", done, "", Must("≥", _CROWD)),
        Figure("cached", "from the POST to its answer, p99", percentile(posted["latencies_ms"], 0.99), "ms"),
    ]


def _calls(world: World) -> int:
    return int(str(get_json(f"{world.simulator_url}/stats?last=0")["requests"]))
