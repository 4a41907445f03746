from hypothesis import given
from hypothesis import strategies as st

from policies.hedging import FLOOR_MS, MIN_SAMPLES, HedgeBudget, hedge_after_ms


@given(st.sampled_from([0.01, 0.05, 0.1, 0.29]), st.integers(1, 5), st.lists(st.booleans(), max_size=600))
def test_hedges_never_exceed_their_share_of_any_run_of_calls(part: float, burst: int, steps: list[bool]) -> None:
    budget = HedgeBudget(part, burst=burst)
    calls, hedges = [0], [0]
    for is_call in steps:
        if is_call:
            budget.call()
        calls.append(calls[-1] + is_call)
        hedges.append(hedges[-1] + (not is_call and budget.may_hedge()))
    for begin in range(0, len(calls), 7):
        assert hedges[-1] - hedges[begin] <= part * (calls[-1] - calls[begin]) + burst


def test_a_hedge_that_was_not_sent_can_be_sent_later() -> None:
    budget = HedgeBudget(0.5)
    budget.call()
    budget.call()
    assert budget.may_hedge()
    budget.give_back()
    assert budget.may_hedge()
    assert not budget.may_hedge()


def test_nobody_hedges_before_enough_calls_paid_for_it() -> None:
    budget = HedgeBudget()
    assert not budget.may_hedge()
    for _ in range(19):
        budget.call()
    assert not budget.may_hedge()
    budget.call()
    assert budget.may_hedge()
    assert not budget.may_hedge()


def test_quiet_hours_save_up_no_more_than_the_burst() -> None:
    budget = HedgeBudget(0.05, burst=2)
    for _ in range(100_000):
        budget.call()
    assert [budget.may_hedge() for _ in range(4)] == [True, True, False, False]


def test_the_whole_share_can_be_used() -> None:
    budget = HedgeBudget(0.05)
    hedges = 0
    for _ in range(10_000):
        budget.call()
        hedges += budget.may_hedge()
    assert hedges == 500


def test_the_second_request_leaves_after_the_p95_once_that_is_known_and_never_at_once() -> None:
    assert hedge_after_ms(800.0, MIN_SAMPLES) == 800.0
    assert hedge_after_ms(800.0, MIN_SAMPLES - 1) is None
    assert hedge_after_ms(None, 10_000) is None
    assert hedge_after_ms(0.3, 10_000) == FLOOR_MS
