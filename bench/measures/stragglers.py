"""`stragglers`: the drain with 1 % of the jobs at 20 s; slow jobs must not hold up the others."""

from bench import jobs
from bench.figures import Figure, Must
from bench.measures.drain import LATENCY_MS, RATES, coatcheck_rate
from bench.world import World

_SHARE = 100  # every hundredth job is slow
_QUEUE_EMPTY = "SELECT NOT EXISTS (SELECT FROM ready)"
_LAST_CLAIM = "SELECT coalesce(extract(epoch FROM max(started_at)), 0)::float8 FROM jobs"


def measure(world: World) -> list[Figure]:
    """Compare the rate with stragglers with the plain rate, both while there is a queue, at 512 and 2,048 in flight.

    What counts is the steady state: from the moment on when the first stragglers end (before, fewer of them run than later) to
    the last claim (afterwards there is no queue, and what remains are stragglers).

    Slots set a bound. With s of them and calls of 0.2 s, no more than s / (0.99 x 0.2 + 0.01 x 20) jobs/s can end, half of what
    they allow without stragglers. A worker that comes close to that without them can keep no 60 % of its own rate, however well
    it does; so the goal is set on the rate that is asked of it without stragglers; the shares of its own rate and of the bound
    stand beside it.
    """
    slow_s, steady_s = world.sizes.straggler_s, world.sizes.straggler_steady_s
    figures = []
    for in_flight in world.sizes.drain_jobs:
        plain = coatcheck_rate(world, in_flight, world.sizes.drain_jobs[in_flight] // 2)
        # Enough for the ramp and the steady state at the plain rate or, with all slots taken, at the rate the slots allow.
        allowed = in_flight / (0.99 * LATENCY_MS / 1000 + slow_s / _SHARE)
        count = int(min(plain, allowed) * (slow_s + steady_s))
        steady, whole = _with_stragglers(world, in_flight, count)
        note = (
            f"1 % of the jobs take {slow_s:.0f} s. Counted from the end of the first of them to the last claim; "
            f"over the whole queue, ramp included, {whole:.0f}/s of plain {plain:.0f}/s with {in_flight:,} in flight"
        )
        asked = RATES[in_flight]
        figures += [
            Figure("stragglers", f"finished jobs, {in_flight:,} in flight", steady, "/s", None, None, note),
            Figure(
                "stragglers",
                f"share of the {asked.bound:,.0f}/s asked for without, {in_flight:,} in flight",
                100 * steady / asked.bound,
                "%",
                Must("≥", 60),
            ),
            Figure("stragglers", f"share of its own plain rate, {in_flight:,} in flight", 100 * steady / plain, "%"),
            Figure(
                "stragglers", f"share of what the slots allow, {in_flight:,} in flight", 100 * steady / allowed, "%"
            ),
        ]
    return figures


def _with_stragglers(world: World, in_flight: int, count: int) -> tuple[float, float]:
    slow_s = world.sizes.straggler_s
    world.say(f"{in_flight:,} in flight with stragglers: {count:,} jobs")
    jobs.empty(world)
    jobs.fill(world, count, lambda number: slow_s * 1000 if number % _SHARE == 0 else LATENCY_MS)
    jobs.checkpoint(world)
    with world.worker(in_flight=in_flight) as worker:
        jobs.wait_for(world, _QUEUE_EMPTY, 180)
        last_claim = float(str(jobs.scalar(world, _LAST_CLAIM)))
        worker.kill()
    finished = jobs.finishes(world)
    if not finished.moments:
        return float("nan"), float("nan")
    first = finished.moments[0][0]
    return finished.rate(first - LATENCY_MS / 1000 + slow_s, last_claim), finished.rate(end=last_claim)
