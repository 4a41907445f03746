"""Work that can wait takes spare capacity only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.catalog import Deployment
from policies.giving_way import prewarm_lane, spare

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


CHAT, RERANK = "/v1/chat/completions", "/v1/rerank"


def served_by(*batch_api: bool, endpoints: frozenset[str] = frozenset({CHAT, RERANK})) -> list[Deployment]:
    return [
        Deployment(name=str(place), model="m", provider="openai", endpoints=endpoints, batch_api=each)
        for place, each in enumerate(batch_api)
    ]


def test_a_prewarm_job_goes_to_a_batch_api_where_it_is_asked_for_and_offered() -> None:
    assert prewarm_lane("bulk", served_by(False, True), CHAT, stream=False) == "bulk"


@pytest.mark.parametrize("asked", [None, "prewarm", "default"])
def test_a_prewarm_job_gives_way_unless_it_is_asked_to_take_its_time(asked: str | None) -> None:
    assert prewarm_lane(asked, served_by(True), CHAT, stream=False) == "prewarm"


@pytest.mark.parametrize(
    ("deployments", "endpoint", "stream"),
    [
        ([], CHAT, False),
        (served_by(False), CHAT, False),
        (served_by(True), CHAT, True),
        (served_by(True), RERANK, False),
        (served_by(True, endpoints=frozenset({"/v1/embeddings"})), CHAT, False),
    ],
)
def test_a_prewarm_job_that_no_batch_api_would_take_gives_way(
    deployments: list[Deployment], endpoint: str, stream: bool
) -> None:
    assert prewarm_lane("bulk", deployments, endpoint, stream=stream) == "prewarm"
