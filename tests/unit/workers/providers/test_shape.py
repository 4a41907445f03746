from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.protocol import ProviderError, Usage
from workers.providers.shape import checked, usage_of

EMBED = "/v1/embeddings"


def embedded(*indices: int) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": [float(index)]} for index in indices]}


@given(st.permutations(list(range(6))))
def test_embeddings_come_back_in_the_order_of_their_inputs(order: list[int]) -> None:
    body = checked(EMBED, {"input": list("abcdef")}, embedded(*order), None)
    assert [item["index"] for item in body["data"]] == list(range(6))


@pytest.mark.parametrize("indices", [(0,), (0, 0), (0, 2), (0, 1, 2), (1, 2)])
def test_embeddings_that_do_not_match_their_inputs_are_a_bad_reply(indices: tuple[int, ...]) -> None:
    with pytest.raises(ProviderError, match="one embedding for each of 2 inputs"):
        checked(EMBED, {"input": ["a", "b"]}, embedded(*indices), None)


def test_one_input_may_be_a_text_or_a_list_of_tokens() -> None:
    for given_input in ("a", [1, 2, 3], ["a"]):
        checked(EMBED, {"input": given_input}, {"data": [{"embedding": [1.0]}]}, None)


@pytest.mark.parametrize("body", [None, [], "x", 1, {}, {"choices": None}, {"choices": []}, {"choices": ["x"]}])
def test_a_body_of_the_wrong_shape_is_a_bad_reply(body: object) -> None:
    with pytest.raises(ProviderError) as caught:
        checked("/v1/chat/completions", {}, body, None)
    assert caught.value.code == "bad_reply"


def test_an_error_in_place_of_an_answer_is_an_error() -> None:
    with pytest.raises(ProviderError) as caught:
        checked("/v1/chat/completions", {}, {"error": {"message": "x", "code": 429}}, None)
    assert caught.value.code == "rate_limited"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2, 0, 5)),
        ({"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}, Usage(3, 2, 1, 5)),
        ({"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3, 0, 0, 3)),
        ({"total_tokens": 4}, Usage(4, 0, 0, 4)),
        ({"prompt_tokens": -1, "completion_tokens": "2", "total_tokens": True}, None),
        ({"prompt_tokens": 2**60}, None),
        ({}, None),
        (None, None),
        ("many", None),
    ],
)
def test_usage_is_read_under_either_name_and_nonsense_is_no_usage(usage: object, expected: Usage | None) -> None:
    assert usage_of({"usage": usage}) == expected
