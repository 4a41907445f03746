"""What near answers would have been worth."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.shadow import Bucket, answer_text, step_of, told

COUNTS = st.integers(0, 50)
BUCKETS = st.lists(
    st.builds(
        lambda step, agreeing, more, refused: Bucket(step, agreeing + more, agreeing, agreeing, 0.9, refused, 0),
        st.integers(10, 19), COUNTS, COUNTS, COUNTS,
    ),
    unique_by=lambda bucket: bucket.step,
)  # fmt: skip


@pytest.mark.parametrize(("similarity", "step"), [(0.7, 14), (0.7499, 14), (0.75, 15), (1.0, 19), (0.0, 0), (-0.2, 0)])
def test_a_similarity_belongs_to_its_step(similarity: float, step: int) -> None:
    assert step_of(similarity) == step


@given(BUCKETS)
def test_a_lower_threshold_never_serves_less(buckets: list[Bucket]) -> None:
    report = told(buckets)
    served = [each["served"] for each in report["thresholds"]]
    assert served == sorted(served, reverse=True)
    assert (served[0] if served else 0) == report["would_be_hits"] == sum(bucket.pairs for bucket in buckets)


@given(BUCKETS)
def test_agreement_is_a_share_of_what_is_served(buckets: list[Bucket]) -> None:
    for each in told(buckets)["thresholds"]:
        assert each["agreement"] is None if each["served"] == 0 else 0 <= each["agreement"] <= 1


def test_a_report_tells_each_bucket_with_its_bounds() -> None:
    report = told([Bucket(15, 4, 1, 3, 0.91, 2, 1), Bucket(19, 2, 2, 2, None, 0, 0)])
    assert report["buckets"][0] == {
        "from": 0.75, "to": 0.8, "pairs": 4, "same": 1, "agreeing": 3, "agreement": 0.75, "mean_answer_cosine": 0.91,
        "refused_by_guard": 2, "refused_agreeing": 1,
    }  # fmt: skip
    assert report["thresholds"] == [
        {"threshold": 0.75, "served": 6, "agreeing": 5, "agreement": 0.8333},
        {"threshold": 0.95, "served": 2, "agreeing": 2, "agreement": 1.0},
    ]
    assert report["refused_by_guard"] == 2


@pytest.mark.parametrize(
    ("endpoint", "answer", "text"),
    [
        ("/v1/chat/completions", {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, "a\nb"),
        (
            "/v1/chat/completions",
            {"choices": [{"message": {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]},
            "f {}",
        ),
        (
            "/v1/responses",
            {
                "output": [
                    {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
                    {"type": "function_call", "name": "f", "arguments": "1"},
                ]
            },
            "a\nf 1",
        ),
        ("/v1/chat/completions", {"choices": "?"}, ""),
        ("/v1/chat/completions", {"choices": [{"message": {"content": [1]}}, 3]}, ""),
    ],
)  # fmt: skip
def test_an_answer_is_what_it_says(endpoint: str, answer: dict[str, Any], text: str) -> None:
    assert answer_text(endpoint, answer) == text
