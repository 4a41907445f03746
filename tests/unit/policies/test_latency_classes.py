"""Slots follow the lanes that miss their target, and come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.latency_classes import Tally, reservations

LANES = ("interactive", "default", "bulk")
LATE, FINE = Tally(10, 90), Tally(99, 1)


@pytest.mark.parametrize(
    ("tally", "late"),
    [(Tally(), False), (Tally(0, 4), False), (Tally(0, 5), True), (Tally(95, 5), False), (Tally(94, 6), True)],
)
def test_a_lane_is_late_when_enough_of_its_jobs_are(tally: Tally, late: bool) -> None:
    assert tally.late is late


def test_a_late_lane_gets_more_until_it_is_on_time_and_then_gives_it_back() -> None:
    reserved = dict.fromkeys(LANES, 16)
    seen = []
    for tally in (LATE, LATE, FINE, FINE):
        reserved = reservations(reserved, {"interactive": tally}, fewest=16, most=1000)
        seen.append(reserved["interactive"])
    assert seen == [32, 64, 52, 43]
    for _ in range(50):
        reserved = reservations(reserved, {}, fewest=16, most=1000)
    assert reserved == dict.fromkeys(LANES, 16)


def test_a_lane_that_had_nothing_of_its_own_gets_something() -> None:
    assert reservations({"bulk": 0}, {"bulk": LATE}, fewest=0, most=8) == {"bulk": 1}


@given(
    st.dictionaries(st.sampled_from(LANES), st.integers(0, 2000), min_size=1),
    st.dictionaries(st.sampled_from(LANES), st.builds(Tally, st.integers(0, 50), st.integers(0, 50))),
    st.integers(0, 50),
    st.integers(1, 4096),
)
def test_every_lane_keeps_its_least_and_half_of_the_slots_stay_free_for_all(
    reserved: dict[str, int], tallies: dict[str, Tally], fewest: int, most: int
) -> None:
    after = reservations(reserved, tallies, fewest=fewest, most=most)
    assert after.keys() == reserved.keys()
    assert all(kept >= fewest for kept in after.values())
    assert sum(after.values()) <= max(most // 2, fewest * len(after))
