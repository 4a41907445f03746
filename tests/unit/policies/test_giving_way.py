"""Work that can wait takes spare capacity only."""

from hypothesis import given
from hypothesis import strategies as st

from policies.giving_way import spare

COUNTS = st.integers(0, 500)


def test_what_others_wait_for_is_not_touched() -> None:
    assert spare({"a": 10, "b": 10}, {}, {"a"}) == {"a": 0, "b": 7}


def test_all_that_is_spare_is_filled_but_a_quarter() -> None:
    assert spare({"a": 100}, {"a": 0})["a"] == 75
    assert spare({"a": 25}, {"a": 75})["a"] == 0


def test_a_model_with_one_slot_is_prewarmed_one_job_at_a_time() -> None:
    assert spare({"a": 1}, {})["a"] == 1
    assert spare({"a": 0}, {"a": 1})["a"] == 0
    assert spare({"a": 1}, {"a": 1})["a"] == 0


@given(st.integers(4, 500), COUNTS)
def test_claim_after_claim_a_quarter_of_what_others_leave_stays_free(capacity: int, live: int) -> None:
    left = max(0, capacity - live)
    held = 0
    while more := spare({"a": left - held}, {"a": held})["a"]:
        held += more
    assert held <= max(1, left * 3 / 4)
    assert left < 2 or left - held >= left / 4


@given(st.dictionaries(st.text(max_size=3), COUNTS), st.dictionaries(st.text(max_size=3), COUNTS))
def test_there_is_never_more_than_is_free(free: dict[str, int], held: dict[str, int]) -> None:
    told = spare(free, held)
    assert told.keys() == free.keys()
    assert all(0 <= told[model] <= free[model] for model in free)
