import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.concurrency import AdaptiveLimit, share

demands = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 60), max_size=10)


def calm(limit: AdaptiveLimit, now: float, in_flight: int) -> int:
    return limit.on_tick(now, in_flight=in_flight, completed=10, failed_overload=0, slowness=1.0, answer_ms=100)


def overloaded(limit: AdaptiveLimit, now: float, answer_ms: float | None = None) -> int:
    return limit.on_tick(now, in_flight=limit.limit, completed=0, failed_overload=7, slowness=None, answer_ms=answer_ms)


def test_it_begins_at_the_ceiling_and_overload_takes_three_tenths() -> None:
    limit = AdaptiveLimit(2, 100)
    assert limit.limit == 100
    assert overloaded(limit, 10.0) == 70


def test_one_crowd_lowers_it_once_a_window() -> None:
    limit = AdaptiveLimit(1, 100)
    assert [overloaded(limit, now) for now in (10.0, 10.25, 10.5, 10.75, 11.0)] == [70, 70, 70, 70, 49]


def test_where_answers_take_long_so_does_the_window() -> None:
    limit = AdaptiveLimit(1, 100)
    assert [overloaded(limit, now, 4000.0) for now in (10.0, 11.0, 13.9, 14.0)] == [70, 70, 70, 49]


def test_it_grows_only_while_it_is_used_and_nothing_goes_wrong() -> None:
    limit = AdaptiveLimit(1, 40, start=10)
    for tick in range(100):
        assert calm(limit, tick / 4, in_flight=3) == 10
    for tick in range(100, 121):
        calm(limit, tick / 4, in_flight=limit.limit)
    assert limit.limit == 15


def test_after_a_cut_it_waits_a_window_before_it_grows() -> None:
    limit = AdaptiveLimit(1, 100)
    overloaded(limit, 10.0)
    calm(limit, 10.75, in_flight=70)
    assert limit.exact == 70
    calm(limit, 11.25, in_flight=70)
    assert limit.exact > 70


def test_answers_that_take_a_multiple_of_the_usual_lower_it_when_there_is_a_crowd() -> None:
    def tick(now: float, in_flight: int, slowness: float | None) -> int:
        return limit.on_tick(now, in_flight=in_flight, completed=9, failed_overload=0, slowness=slowness, answer_ms=900)

    limit = AdaptiveLimit(1, 100)
    assert tick(1.0, in_flight=10, slowness=9.0) == 100
    assert tick(2.0, in_flight=100, slowness=None) == 100
    assert tick(3.0, in_flight=100, slowness=2.0) == 100
    assert tick(4.0, in_flight=100, slowness=9.0) == 70


@given(
    st.integers(-5, 50),
    st.integers(1, 500),
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.integers(0, 600),
            st.integers(0, 100),
            st.integers(0, 3),
            st.none() | st.floats(0, 5000),
            st.none() | st.floats(0.5, 50),
        ),
        max_size=60,
    ),
)
def test_it_stays_between_floor_and_ceiling_and_falls_at_most_once_a_window(
    floor: int, ceiling: int, ticks: list[tuple[float, int, int, int, float | None, float | None]]
) -> None:
    limit = AdaptiveLimit(floor, ceiling)
    now, cuts, before = 0.0, [], limit.exact
    for pause, in_flight, completed, failed, answer, slowness in ticks:
        now += pause
        shown = limit.on_tick(
            now,
            in_flight=in_flight,
            completed=completed,
            failed_overload=failed,
            slowness=slowness,
            answer_ms=answer,
        )
        assert max(1, min(floor, ceiling)) <= shown <= ceiling
        assert limit.exact >= before * 0.7 - 1e-9
        if limit.exact < before:
            cuts.append(now)
        before = limit.exact
    assert all(later - earlier >= limit.window_s for earlier, later in itertools.pairwise(cuts))


@pytest.mark.parametrize("capacity", [5, 40, 90])
def test_it_finds_what_the_upstream_bears_and_stays_near(capacity: int) -> None:
    """Everybody wants more than there is; what is beyond the capacity is turned away."""
    limit = AdaptiveLimit(1, 100)
    tail = []
    for tick in range(4 * 120):
        beyond = max(0, limit.limit - capacity)
        limit.on_tick(
            tick / 4, in_flight=limit.limit, completed=capacity, failed_overload=beyond, slowness=1.0, answer_ms=100
        )
        if tick > 4 * 40:
            tail.append(limit.limit)
    assert max(tail) <= capacity + 2
    assert sum(tail) / len(tail) >= 0.7 * capacity


@given(st.integers(-3, 200), demands, st.integers(0, 20))
def test_allotments_never_exceed_the_limit_nor_what_was_asked_for(limit: int, wants: dict[str, int], turn: int) -> None:
    given_ = share(limit, wants, turn=turn)
    assert given_.keys() == wants.keys()
    assert sum(given_.values()) == min(max(limit, 0), sum(wants.values()))
    assert all(0 <= given_[name] <= want for name, want in wants.items())


@given(st.integers(0, 200), demands, st.integers(0, 20))
def test_allotments_are_max_min_fair(limit: int, wants: dict[str, int], turn: int) -> None:
    """Nobody could get more except from one that has no more than it, or one more at most."""
    given_ = share(limit, wants, turn=turn)
    unfilled = [given_[name] for name, want in wants.items() if given_[name] < want]
    if unfilled:
        assert max(given_.values()) <= min(unfilled) + 1


@given(st.integers(0, 200), demands)
def test_everybody_with_a_demand_gets_one_where_possible(limit: int, wants: dict[str, int]) -> None:
    hungry = [name for name, want in wants.items() if want > 0]
    served = [name for name, got in share(limit, wants).items() if got > 0]
    assert len(served) == min(limit, len(hungry))


@given(st.integers(1, 5), st.integers(6, 10))
def test_what_is_left_over_goes_around(limit: int, processes: int) -> None:
    wants = {f"worker-{number}": 5 for number in range(processes)}
    turns = [share(limit, wants, turn=turn) for turn in range(processes)]
    assert {sum(turn[name] for turn in turns) for name in wants} == {limit}


@given(st.integers(0, 200), demands)
def test_what_nobody_asked_for_is_spread_evenly(limit: int, wants: dict[str, int]) -> None:
    plain, spread = share(limit, wants), share(limit, wants, spread=True)
    assert sum(spread.values()) == (limit if wants else 0)
    extra = [spread[name] - plain[name] for name in wants]
    assert not extra or (min(extra) >= 0 and max(extra) - min(extra) <= 1)
