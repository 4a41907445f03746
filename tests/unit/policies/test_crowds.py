"""Learning whether who comes first is the first of a crowd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.crowds import Crowds

SPELL_S = 0.015


def taught(sizes: list[int], usual: float = 0.0) -> Crowds:
    """After crowds of these sizes, a second apart, each of whose items came on its own."""
    crowds = Crowds()
    crowds.coming(0.0, SPELL_S, usual)
    for second, size in enumerate(sizes):
        for item in range(size):
            crowds.arrived(second + item * 0.0001, 1)
    crowds.arrived(float(len(sizes)), 1)
    return crowds


def test_at_first_nobody_waits_for_a_crowd() -> None:
    crowds = Crowds()
    crowds.arrived(1.0, 1)
    assert crowds.coming(1.0, SPELL_S, 0.0) == 0


def test_after_a_few_crowds_the_rest_of_the_next_is_expected_until_its_spell_is_over() -> None:
    crowds = taught([32] * 3)
    assert crowds.coming(3.0, SPELL_S, 0.0) == pytest.approx(SPELL_S)
    assert 0 < crowds.coming(3.01, SPELL_S, 0.0) < SPELL_S
    assert crowds.coming(3.02, SPELL_S, 0.0) == 0


def test_a_crowd_that_did_not_come_twice_is_no_longer_waited_for() -> None:
    assert taught([32] * 6 + [1]).coming(7.0, SPELL_S, 0.0) > 0
    assert taught([32] * 6 + [1] * 2).coming(8.0, SPELL_S, 0.0) == 0


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30))
def test_a_few_at_a_time_are_no_crowd(sizes: list[int]) -> None:
    assert taught(sizes).coming(float(len(sizes)), SPELL_S, 0.0) == 0


def test_what_comes_all_the_time_is_no_crowd() -> None:
    assert taught([32] * 3, usual=20.0).coming(3.0, SPELL_S, 20.0) == 0


@given(st.integers(6, 140), st.integers(1, 64))
def test_parts_of_a_crowd_that_comes_as_usual_hold_all_of_it(size: int, parts: int) -> None:
    part = taught([size] * 4).part(parts)
    assert part >= 1
    assert part * parts >= size - parts / 4
    assert (part - 1) * parts < size


@given(st.lists(st.integers(1, 300), max_size=20), st.integers(1, 64))
def test_whatever_came_a_part_has_something_in_it(sizes: list[int], parts: int) -> None:
    assert taught(sizes).part(parts) >= 1
