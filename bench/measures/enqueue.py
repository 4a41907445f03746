"""`enqueue`: how many jobs one API process accepts, durably, and how quickly it answers a single client."""

from bench import jobs
from bench.baseline import run as baseline
from bench.figures import Figure, Must, median, shown
from bench.load.order import Order, Posted, run_post
from bench.world import World

_CLIENTS = 128
_BODIES = 256


def measure(world: World) -> list[Figure]:
    """Measure Coatcheck's API, then the baseline's; no workers run."""
    jobs.empty(world)
    sizes = world.sizes
    with world.api() as (_, port):
        many = _many(world, port, "/v1/jobs", world.key, sizes.enqueue_s, sizes.enqueue_windows)
        one = _one(world, port, "/v1/jobs", world.key, sizes.single_posts)
    stored = jobs.scalar(world, "SELECT count(*) FROM jobs")
    jobs.empty(world)
    baseline.prepare(world)
    with baseline.api(world) as port:
        base_many = _many(world, port, "/jobs", None, sizes.enqueue_baseline_s, sizes.enqueue_windows)
        base_one = _one(world, port, "/jobs", None, sizes.single_posts_baseline)
    # Every 202 must stand for a row; a number that can't be trusted is no number.
    whole = stored == many.accepted + one.accepted and not many.failures + one.failures
    rate = many.rate if whole else float("nan")
    note = (
        f"{_CLIENTS} clients in closed loops; the middle of {len(many.rates)} windows "
        f"({', '.join(shown(window) for window in many.rates)}/s); {stored} rows for {many.accepted + one.accepted} answers; "
        f"the generator took {many.generator_cpu:.0%} of a core"
    )
    latency = "one client, one request after the other"
    return [
        Figure("enqueue", f"accepted jobs, {_CLIENTS} clients", rate, "/s", Must("≥", 3500), base_many.rate, note),
        Figure("enqueue", "accepted jobs, times the baseline", rate / base_many.rate, "×", Must("≥", 4)),
        Figure("enqueue", f"POST, {_CLIENTS} clients, p50", many.p50, "ms", None, base_many.p50),
        Figure("enqueue", f"POST, {_CLIENTS} clients, p99", many.p99, "ms", None, base_many.p99),
        Figure("enqueue", "POST, one client, p50", one.p50, "ms", Must("≤", 1.5), base_one.p50, latency),
        Figure("enqueue", "POST, one client, p99", one.p99, "ms", Must("≤", 5), base_one.p99, latency),
    ]


def _many(world: World, port: int, path: str, key: str | None, seconds: float, windows: int) -> Posted:
    world.say(f"{_CLIENTS} clients post to {path} for {seconds:.0f} s")
    order = Order("post", "127.0.0.1", port, path, jobs.job_requests(_BODIES), key, clients=_CLIENTS, seconds=seconds)
    return run_post(order, warm_up=1.0, windows=windows)


def _one(world: World, port: int, path: str, key: str | None, count: int) -> Posted:
    world.say(f"one client posts {count} times to {path}")
    order = Order("post", "127.0.0.1", port, path, jobs.job_requests(_BODIES), key, requests=count)
    posted = run_post(order)
    assert median(posted.rates) > 0
    return posted
