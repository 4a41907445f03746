"""The pacer against simulated traffic: an accelerator whose calls cost a fixed time and a time for each item."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.pacing import Pacer, Plan

_SECONDS = 8.0


@dataclass(frozen=True)
class Upstream:
    fixed_s: float
    item_s: float
    slots: int
    most: int

    def call_s(self, size: int) -> float:
        return self.fixed_s + self.item_s * size

    @property
    def capacity(self) -> float:
        return self.slots * self.most / self.call_s(self.most)


GPU = Upstream(0.05, 0.002, slots=4, most=64)
UPSTREAMS = [GPU, Upstream(0.02, 0.001, 1, 32), Upstream(0.3, 0.0005, 16, 128), Upstream(0.05, 0.0, 4, 64)]
Arrivals = list[float]
# Decides at a moment: (now, waiting since, ends of calls under way) to sizes and when to ask again.
Decide = Callable[[float, list[float], list[float]], tuple[list[int], float | None]]


def steady(rate: float, rng: random.Random) -> Arrivals:
    return sorted(rng.uniform(0, _SECONDS) for _ in range(round(rate * _SECONDS)))


def bursts(rate: float, rng: random.Random, size: int = 64) -> Arrivals:
    times, now = [], 0.1
    while now < _SECONDS:
        times += [now] * size
        now += size / rate * rng.uniform(0.5, 1.5)
    return times


def ramp(rate: float, rng: random.Random) -> Arrivals:
    return sorted(_SECONDS * math.sqrt(rng.random()) for _ in range(round(rate * _SECONDS / 2)))


def latencies(
    upstream: Upstream, arrivals: Arrivals, decide: Decide, learn: Callable[[int, float], None]
) -> list[float]:
    """Run the traffic; how long each item took from its arrival to its answer."""
    events: list[tuple[float, int, list[float] | None]] = [(at, number, [at]) for number, at in enumerate(arrivals)]
    heapq.heapify(events)
    waiting: list[float] = []
    under_way: dict[int, float] = {}
    took: list[float] = []
    number = len(arrivals)
    while events:
        now, which, since = heapq.heappop(events)
        if which in under_way:
            del under_way[which]
            took += [now - at for at in since or []]
            learn(len(since or []), upstream.call_s(len(since or [])))
        elif since:
            waiting += since
        if events and events[0][0] == now:
            continue
        if not waiting or len(under_way) >= upstream.slots:
            continue
        sizes, again_in = decide(now, waiting, list(under_way.values()))
        for size in sizes:
            number += 1
            under_way[number] = now + upstream.call_s(size)
            heapq.heappush(events, (under_way[number], number, waiting[:size]))
            del waiting[:size]
        if again_in is not None:
            number += 1
            heapq.heappush(events, (now + again_in, number, None))
    assert len(took) == len(arrivals)
    return took


def paced(upstream: Upstream, arrivals: Arrivals) -> list[float]:
    """As it goes once the pacer knows what a call costs; before, it asks for a moment too much or too little at a time."""
    pacer, told = Pacer(), iter(arrivals)
    for size in (1, upstream.most, 2, 4) * 5:
        pacer.finished(size, upstream.call_s(size))
    upcoming = next(told, None)

    def decide(now: float, waiting: list[float], ends: list[float]) -> tuple[list[int], float | None]:
        nonlocal upcoming
        while upcoming is not None and upcoming <= now:
            pacer.arrived(upcoming, 1)
            upcoming = next(told, None)
        plan = pacer.plan(
            now, waiting=len(waiting), oldest=waiting[0], slots=upstream.slots, ends=ends, most=upstream.most
        )
        return list(plan.sizes), plan.again_in

    return latencies(upstream, arrivals, decide, pacer.finished)


def greedy(upstream: Upstream, arrivals: Arrivals) -> list[float]:
    """Everything that waits goes as soon as a slot is free."""
    return latencies(
        upstream,
        arrivals,
        lambda _, waiting, ends: ([min(upstream.most, len(waiting))], None),  # noqa: ARG005
        lambda *_: None,
    )


def timed(upstream: Upstream, arrivals: Arrivals, size: int, timer_s: float) -> list[float]:
    """Batches of a fixed size, or what has come when the timer of the first ends."""
    batches: list[tuple[float, list[float]]] = []
    gathered: list[float] = []
    for at in arrivals:
        if gathered and at >= gathered[0] + timer_s:
            batches.append((gathered[0] + timer_s, gathered))
            gathered = []
        gathered.append(at)
        if len(gathered) == size:
            batches.append((at, gathered))
            gathered = []
    if gathered:
        batches.append((gathered[0] + timer_s, gathered))
    free = [0.0] * upstream.slots
    took = []
    for ready, batch in batches:
        end = max(ready, heapq.heappop(free)) + upstream.call_s(len(batch))
        heapq.heappush(free, end)
        took += [end - at for at in batch]
    return took


def p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


def best_timed(upstream: Upstream, arrivals: Arrivals) -> float:
    """The p95 of the size and timer that are best for this very traffic, which nobody can know beforehand."""
    sizes = [size for size in (4, 8, 16, 32, 64, 128) if size <= upstream.most]
    timers = (0.002, 0.005, 0.01, 0.02, 0.05)
    return min(p95(timed(upstream, arrivals, size, timer)) for size in sizes for timer in timers)


@pytest.mark.parametrize("shape", [steady, ramp])
@pytest.mark.parametrize("load", [0.03, 0.05, 0.08, 0.14, 0.3, 0.5, 0.65, 0.8])
def test_the_slowest_wait_no_longer_than_with_the_best_of_four_usual_sizes_and_timers(
    shape: Callable[[float, random.Random], Arrivals], load: float
) -> None:
    usual = ((4, 0.01), (8, 0.02), (16, 0.02), (32, 0.05))
    traffic = [shape(load * GPU.capacity, random.Random(seed)) for seed in range(6)]
    ours = [p95(paced(GPU, arrivals)) for arrivals in traffic]
    theirs = min(sum(p95(timed(GPU, arrivals, *one)) for arrivals in traffic) for one in usual)
    assert sum(ours) <= 1.03 * theirs


@pytest.mark.parametrize("shape", [steady, ramp])
@pytest.mark.parametrize("load", [0.03, 0.14, 0.3, 0.5, 0.65, 0.8])
def test_the_slowest_lose_little_against_the_best_of_thirty_for_this_very_traffic(
    shape: Callable[[float, random.Random], Arrivals], load: float
) -> None:
    arrivals = shape(load * GPU.capacity, random.Random(1))
    assert p95(paced(GPU, arrivals)) <= 1.09 * best_timed(GPU, arrivals)


@pytest.mark.parametrize(("load", "times"), [(0.03, 1.02), (0.14, 1.02), (0.3, 1.1), (0.5, 1.45), (0.8, 1.3)])
def test_crowds_lose_a_little_against_a_size_that_was_made_for_them(load: float, times: float) -> None:
    # Crowds of 64 that come at one moment, and four slots: nothing beats batches of 16 there. Who does not know that beforehand
    # makes larger ones when slots are still busy with the crowd before.
    arrivals = bursts(load * GPU.capacity, random.Random(1))
    assert p95(paced(GPU, arrivals)) <= times * best_timed(GPU, arrivals)


def late_bursts(rate: float, rng: random.Random, size: int = 32) -> Arrivals:
    """Crowds of which one or two often come some milliseconds before the others, as they do through an API and a queue."""
    times: list[float] = []
    now = 0.1
    while now < _SECONDS:
        first = rng.choice([1, 2, 10]) if rng.random() < 0.33 else 0
        late = now + rng.uniform(0.002, 0.008)
        times += [now] * first + [late if first else now] * (size - first)
        now += size / rate * rng.uniform(0.5, 1.5)
    return times


@pytest.mark.parametrize("rate", [100, 200, 300])
def test_the_first_of_a_crowd_does_not_take_a_slot_from_the_rest(rate: float) -> None:
    traffic = [late_bursts(rate, random.Random(seed)) for seed in range(6)]
    ours = sum(p95(paced(GPU, arrivals)) for arrivals in traffic)
    made_for_it = sum(p95(timed(GPU, arrivals, 8, 0.02)) for arrivals in traffic)
    assert ours <= 1.08 * made_for_it


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_no_upstream_is_paced_worse_than_without_pacing(upstream: Upstream) -> None:
    for load in (0.05, 0.3, 0.6):
        arrivals = steady(load * upstream.capacity, random.Random(2))
        assert p95(paced(upstream, arrivals)) <= 1.02 * p95(greedy(upstream, arrivals))


def test_under_load_pacing_beats_starting_greedily_by_far() -> None:
    arrivals = steady(0.5 * GPU.capacity, random.Random(3))
    assert p95(paced(GPU, arrivals)) < 0.75 * p95(greedy(GPU, arrivals))


def test_more_than_the_upstream_bears_leaves_in_full_calls() -> None:
    arrivals = steady(1.5 * GPU.capacity, random.Random(4))
    took = max(at + late for at, late in zip(arrivals, sorted(paced(GPU, arrivals)), strict=True))
    assert len(arrivals) / took > 0.9 * GPU.capacity


def plan(pacer: Pacer, now: float, waiting: int, *, slots: int = 4, ends: tuple[float, ...] = ()) -> Plan:
    return pacer.plan(now, waiting=waiting, oldest=now, slots=slots, ends=ends, most=64)


def taught(item_s: float = 0.002) -> Pacer:
    pacer = Pacer()
    for size in (1, 4, 16, 2, 32, 8) * 20:
        pacer.finished(size, 0.05 + item_s * size)
    return pacer


def test_what_comes_while_nothing_is_under_way_starts_at_once() -> None:
    for pacer in (Pacer(), taught()):
        pacer.arrived(10.0, 1)
        assert plan(pacer, 10.0, 1) == Plan((1,), None)


def test_a_crowd_that_comes_at_once_is_spread_over_the_slots() -> None:
    pacer = taught()
    pacer.arrived(10.0, 64)
    assert plan(pacer, 10.0, 64).sizes == (16, 16, 16, 16)


def test_where_items_cost_nothing_a_crowd_stays_together() -> None:
    pacer = taught(item_s=0)
    pacer.arrived(10.0, 64)
    assert plan(pacer, 10.0, 64).sizes == (64,)


def test_what_a_call_costs_is_learned() -> None:
    pacer = taught()
    assert pacer.fixed_s == pytest.approx(0.05, rel=0.1)
    assert pacer.item_s == pytest.approx(0.002, rel=0.1)


moments = st.lists(
    st.tuples(st.floats(0, 2), st.integers(0, 200), st.integers(1, 40), st.floats(0, 5)), min_size=1, max_size=30
)


@given(moments, st.integers(1, 300), st.data())
def test_whatever_happened_a_plan_is_sound_and_never_stalls(
    history: list[tuple[float, int, int, float]], slots: int, data: st.DataObject
) -> None:
    pacer, now = Pacer(), 0.0
    for pause, arrived, size, seconds in history:
        now += pause
        if arrived:
            pacer.arrived(now, arrived)
        pacer.finished(size, seconds)
        waiting = data.draw(st.integers(1, 500))
        ends = [now + end for end in data.draw(st.lists(st.floats(-1, 5), max_size=slots))]
        most = data.draw(st.integers(2, 256))
        found = pacer.plan(now, waiting=waiting, oldest=now - pause, slots=slots, ends=ends, most=most)
        assert all(1 <= size <= most for size in found.sizes)
        assert sum(found.sizes) <= waiting and len(found.sizes) <= slots - len(ends)
        # Either all that waits goes, or all slots are taken, or there is a time to ask again.
        idle = len(ends) + len(found.sizes) < slots
        assert (found.again_in is None) is not (idle and sum(found.sizes) < waiting)
        assert found.again_in is None or 0 < found.again_in <= 60
        # Nothing is under way: at most the rest of a crowd is waited for.
        assert ends or found.sizes or (found.again_in or 0) <= 0.021
