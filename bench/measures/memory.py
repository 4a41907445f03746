"""`memory`: resident memory of a worker with 2,048 jobs in flight, and of the API after 100,000 jobs."""

from bench import jobs
from bench.figures import Figure, Must
from bench.load.order import Order, run_post
from bench.measures.drain import QUEUE_DONE
from bench.world import World, most_in_flight, reset_upstream

_IN_FLIGHT = 2048
_SLOW_MS = 1000.0
_CLIENTS = 128


def measure(world: World) -> list[Figure]:
    """Fill a worker to the brim several times over; then let an API process accept many jobs."""
    peak, most = _worker(world)
    api, accepted = _api(world)
    note = (
        f"worker: the highest seen while {world.sizes.memory_worker_jobs:,} jobs of {_SLOW_MS / 1000:.0f} s ran, "
        f"up to {most:,} at once; API: posted by {_CLIENTS} clients; MB are 10⁶ bytes"
    )
    return [
        Figure("memory", f"worker, {_IN_FLIGHT:,} slots", peak, "MB", Must("≤", 350), None, note),
        Figure("memory", f"API after {accepted:,} jobs", api, "MB", Must("≤", 250), None, note),
    ]


def _worker(world: World) -> tuple[float, int]:
    count = world.sizes.memory_worker_jobs
    world.say(f"memory of a worker: {count:,} slow jobs")
    jobs.empty(world)
    jobs.fill(world, count, lambda _: _SLOW_MS)
    reset_upstream(world)
    seen: list[float] = []
    with world.worker(in_flight=_IN_FLIGHT) as worker:
        done = jobs.wait_for(world, QUEUE_DONE, 60, lambda: seen.append(worker.resident_mb()))
        worker.kill()
    return max(seen) if done else float("nan"), most_in_flight(world)


def _api(world: World) -> tuple[float, int]:
    count = world.sizes.memory_api_jobs
    world.say(f"memory of the API: {count:,} jobs")
    jobs.empty(world)
    with world.api() as (process, port):
        order = Order(
            "post", "127.0.0.1", port, "/v1/jobs", jobs.job_requests(256), world.key, clients=_CLIENTS, requests=count
        )
        posted = run_post(order)
        resident = process.resident_mb()
    jobs.empty(world)
    return resident, posted.accepted
