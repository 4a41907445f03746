"""Fair turns: shares follow the weights, whatever the arrivals."""

import heapq
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.fairness import FairLane, reweighed

weights = st.lists(st.floats(0.1, 10), min_size=2, max_size=5)


class Queue:
    """A lane with its waiting turns; the server takes the lowest tag."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights
        self.lane = FairLane()
        self.turns: list[tuple[float, int, int]] = []
        self.waiting: Counter[int] = Counter()
        self._order = 0

    def enter(self, tenant: int, jobs: int) -> None:
        for tag in self.lane.enter(tenant, jobs, self.weights[tenant]):
            self._order += 1
            heapq.heappush(self.turns, (tag, self._order, tenant))
        self.waiting[tenant] += jobs

    def serve(self) -> int:
        tag, _, tenant = heapq.heappop(self.turns)
        self.lane.serve(tag)
        self.waiting[tenant] -= 1
        return tenant


@settings(deadline=None, max_examples=60)
@given(weights=weights, seed=st.integers(0, 2**32))
def test_while_all_have_jobs_waiting_shares_are_within_a_tenth_of_the_weights(weights: list[float], seed: int) -> None:
    queue = Queue(weights)
    pick = random.Random(seed)
    served: Counter[int] = Counter()
    # Twenty jobs for the lightest: below that, one job more or less is more than a tenth.
    enough = round(20 * sum(weights) / min(weights))
    for _ in range(enough):
        for tenant in range(len(weights)):
            # Arrivals of any size and at any time, as long as nobody runs dry.
            if queue.waiting[tenant] == 0 or pick.random() < 0.1:
                queue.enter(tenant, pick.randint(1, 30))
        served[queue.serve()] += 1
    for tenant, weight in enumerate(weights):
        fair = enough * weight / sum(weights)
        assert abs(served[tenant] - fair) <= 0.1 * fair + 1


@given(weights=weights, seed=st.integers(0, 2**32))
def test_two_waiting_tenants_never_differ_by_more_than_a_job_each(weights: list[float], seed: int) -> None:
    queue = Queue(weights)
    pick = random.Random(seed)
    for tenant in range(len(weights)):
        queue.enter(tenant, 300)
    served: Counter[int] = Counter()
    for _ in range(pick.randint(1, 300)):
        served[queue.serve()] += 1
        got = [served[tenant] / weight for tenant, weight in enumerate(weights)]
        for one, first in enumerate(weights):
            for other, second in enumerate(weights):
                assert got[one] - got[other] <= 1 / first + 1 / second + 1e-9


def test_whoever_was_away_has_saved_up_nothing() -> None:
    queue = Queue([1, 1])
    queue.enter(0, 200)
    for _ in range(100):
        queue.serve()
    queue.enter(1, 100)
    assert Counter(queue.serve() for _ in range(20)) == {0: 10, 1: 10}


@given(jobs=st.integers(1, 50), old=st.floats(0.01, 100), new=st.floats(0.01, 100), now=st.floats(0, 1e6))
def test_a_changed_weight_puts_waiting_jobs_where_they_would_have_entered_with_it(
    jobs: int, old: float, new: float, now: float
) -> None:
    before = FairLane(now).enter("tenant", jobs, old)
    after = FairLane(now).enter("tenant", jobs, new)
    assert [reweighed(tag, now, old, new) for tag in before] == pytest.approx(after, rel=1e-6, abs=1e-6)


def test_an_overdue_turn_stays_overdue() -> None:
    assert reweighed(3.0, 5.0, 1, 100) == 3.0
