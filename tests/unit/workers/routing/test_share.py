"""A process's part of a deployment's limits."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policies.catalog import Deployment
from workers.routing.share import Part, unhurried


def part(**limits: Any) -> Part:
    return Part(Deployment("a", "m", "openai", max_concurrency=16, **limits))


@given(st.integers(0, 10**6))
def test_what_is_held_in_advance_leaves_something_for_newcomers_where_there_is_enough(slots: int) -> None:
    assert 0 <= unhurried(slots) <= slots
    assert unhurried(slots) < slots or slots < 8


def test_a_local_model_has_all_its_slots_without_asking() -> None:
    assert Part(Deployment("a", "m", "local", max_concurrency=2)).slots == 2


def test_a_part_that_shrinks_is_given_back_as_calls_end_and_never_grows_meanwhile() -> None:
    mine = part()
    mine.report(0)
    mine.heard([14, 0, 0], 16)
    assert mine.slots == 14
    mine.divide(5, [-1, -1], 0.5)
    assert mine.report(9)["hold"][0] == 9
    assert mine.slots == 5
    mine.heard([9, 0, 0], 16)
    assert mine.slots == 5
    assert mine.report(2)["hold"][0] == 5


def test_uses_between_a_report_and_its_answer_are_not_forgotten() -> None:
    mine = part(requests_per_minute=60)
    mine.report(0)
    mine.heard([1, 5, 0], 16)
    mine.spend(2, 0)
    told = mine.report(0)
    assert (told["hold"][1], told["used"]) == (3, [2, 0])
    mine.spend(1, 0)
    mine.heard([1, 4, 0], 16)
    assert mine.calls_left == 3
    assert mine.report(0)["used"] == [1, 0]


def test_an_answer_that_was_lost_is_told_again() -> None:
    mine = part(requests_per_minute=60)
    mine.heard([1, 5, 0], 16)
    mine.spend(2, 0)
    assert mine.report(0)["used"] == [2, 0]
    mine.spend(1, 0)
    assert mine.report(0)["used"] == [3, 0]


def test_without_tokens_left_no_call_is_made() -> None:
    mine = part(tokens_per_minute=1000)
    mine.heard([1, 0, 100], 16)
    assert mine.calls_left > 0
    mine.spend(1, 300)
    assert mine.calls_left == 0
    mine.settle(-250)
    assert mine.calls_left > 0


@given(st.integers(1, 40), st.lists(st.floats(0, 3), max_size=20))
def test_alone_it_uses_an_even_part_of_the_slots_and_of_the_rate(workers: int, pauses: list[float]) -> None:
    mine = part(requests_per_minute=600)
    used = 0
    for seconds in pauses:
        mine.alone(workers, seconds)
        assert mine.slots == max(1, 16 // workers)
        used += mine.calls_left
        mine.spend(mine.calls_left, 0)
    assert used <= 10 / workers * sum(pauses) + 1


def test_a_new_catalog_moves_the_limits_and_keeps_what_was_learned() -> None:
    mine = part()
    mine.heard([10, 0, 0], 12)
    mine.renew(Deployment("a", "m", "openai", max_concurrency=8, min_concurrency=3))
    assert (mine.limit, mine.ceiling, mine.floor) == (8, 8, 3)
    mine.renew(Deployment("a", "m", "openai", max_concurrency=100))
    assert mine.limit == 8
