"""`drain`: finished jobs per second of one worker process with a 200 ms upstream, results in Postgres."""

from bench import jobs
from bench.baseline import run as baseline
from bench.figures import Figure, Must, median
from bench.processes import Process
from bench.world import World

LATENCY_MS = 200.0
QUEUE_DONE = "SELECT NOT EXISTS (SELECT FROM ready) AND NOT EXISTS (SELECT FROM running)"
#: What is asked for, by jobs in flight.
RATES = {512: Must("≥", 1300), 2048: Must("≥", 1700)}
_RATIOS: dict[baseline.Clients, Must] = {"shared": Must("≥", 6), "per_thread": Must("≥", 3)}
_CALLED = {"shared": "one shared httpx client", "per_thread": "an httpx client per thread"}


def measure(world: World) -> list[Figure]:
    """Drain a queue that was filled before the worker started; the same for both variants of the baseline, taking turns."""
    bases: dict[baseline.Clients, list[float]] = {clients: [] for clients in _RATIOS}
    ours: dict[int, list[float]] = {in_flight: [] for in_flight in world.sizes.drain_jobs}
    for _ in range(world.sizes.drain_rounds):
        for clients, found in bases.items():
            found.append(_baseline(world, clients))
        for in_flight, found in ours.items():
            found.append(coatcheck_rate(world, in_flight, world.sizes.drain_jobs[in_flight]))
    base = {clients: median(found) for clients, found in bases.items()}
    rates = {in_flight: median(found) for in_flight, found in ours.items()}
    note = (
        f"upstream {LATENCY_MS:.0f} ms, the queue is full before the worker starts; from the first stored results to the last; "
        f"the middle of {world.sizes.drain_rounds} rounds; the baseline runs {baseline.THREADS} threads (column: a client "
        "per thread)"
    )
    figures = [
        Figure(
            "drain", f"finished jobs, {in_flight:,} in flight", rate, "/s", RATES[in_flight], base["per_thread"], note
        )
        for in_flight, rate in rates.items()
    ]
    # The ratio is asked of both, so it is judged by the smaller of our rates.
    lowest = min(rates.values())
    for clients, must in _RATIOS.items():
        figures.append(Figure("drain", f"plain Celery, {_CALLED[clients]}", base[clients], "/s"))
        figures.append(
            Figure("drain", f"times plain Celery with {_CALLED[clients]}", lowest / base[clients], "×", must)
        )
    return figures


def coatcheck_rate(world: World, in_flight: int, count: int) -> float:
    """Return finished jobs/s of one worker; nan when not every job ended well."""
    world.say(f"{in_flight:,} in flight: {count:,} jobs")
    jobs.empty(world)
    jobs.fill(world, count, lambda _: LATENCY_MS)
    jobs.checkpoint(world)
    with world.worker(in_flight=in_flight) as worker:
        jobs.wait_for(world, QUEUE_DONE, 120)
        worker.kill()
    finished = jobs.finishes(world)
    return finished.rate() if finished.count == count else float("nan")


def _baseline(world: World, clients: baseline.Clients) -> float:
    count = world.sizes.drain_baseline_jobs[clients]
    world.say(f"baseline, {_CALLED[clients]}: {count:,} jobs")
    baseline.prepare(world)
    baseline.fill(world, count, LATENCY_MS)
    jobs.checkpoint(world)
    with baseline.worker(world, clients) as worker:
        _wait(world, worker)
    finished = jobs.finishes(world, baseline=True)
    return finished.rate() if finished.count == count else float("nan")


def _wait(world: World, worker: Process) -> None:
    jobs.wait_for(world, baseline.DONE, 120)
    worker.kill()
