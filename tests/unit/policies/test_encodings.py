import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.encodings import NotRecodable, encoding_of, recoded

floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(st.lists(floats32, max_size=20), min_size=1, max_size=4)


def as_numbers(vectors: list[list[float]]) -> dict[str, Any]:
    items = [{"object": "embedding", "index": index, "embedding": list(each)} for index, each in enumerate(vectors)]
    return {"object": "list", "data": items, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def as_base64(vectors: list[list[float]]) -> dict[str, Any]:
    answer = as_numbers(vectors)
    for item, each in zip(answer["data"], vectors, strict=True):
        item["embedding"] = base64.b64encode(struct.pack(f"<{len(each)}f", *each)).decode()
    return answer


def embeddings(answer: dict[str, Any]) -> list[Any]:
    return [item["embedding"] for item in answer["data"]]


@given(vectors)
def test_numbers_become_the_base64_that_an_upstream_would_have_sent(given_vectors: list[list[float]]) -> None:
    assert recoded(as_numbers(given_vectors), "base64") == as_base64(given_vectors)


@given(vectors)
def test_base64_becomes_numbers_and_again_the_same_base64(given_vectors: list[list[float]]) -> None:
    packed = as_base64(given_vectors)
    unpacked = recoded(packed, "float")
    for vector, item in zip(given_vectors, embeddings(unpacked), strict=True):
        assert item.dtype == np.float32
        assert item.tolist() == vector
    written = {**unpacked, "data": [{**item, "embedding": item["embedding"].tolist()} for item in unpacked["data"]]}
    assert recoded(json.loads(json.dumps(written)), "base64") == packed


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_numbers_of_double_precision_are_rounded_to_the_nearest(numbers: list[float]) -> None:
    [text] = embeddings(recoded(as_numbers([numbers]), "base64"))
    packed = struct.unpack(f"<{len(numbers)}f", base64.b64decode(text))
    assert all(math.isclose(a, b, rel_tol=2**-23, abs_tol=1e-44) for a, b in zip(numbers, packed, strict=True))


@pytest.mark.parametrize(("made", "encoding"), [(as_numbers, "float"), (as_base64, "base64")])
def test_what_is_in_the_right_encoding_stays_as_it_is(made: Any, encoding: str) -> None:
    answer = made([[0.5, 1.0], [2.0]])
    assert recoded(answer, encoding) == answer


def test_an_answer_with_both_becomes_one_of_them_and_the_given_one_is_not_changed() -> None:
    mixed = {"data": [*as_numbers([[0.5]])["data"], *as_base64([[0.5]])["data"]]}
    before = json.dumps(mixed)
    one, other = embeddings(recoded(mixed, "base64"))
    assert one == other
    assert json.dumps(mixed) == before


@pytest.mark.parametrize(
    "embedding",
    [None, 5, {}, [[0.5]], ["0.5"], [True], [None], [1e39], [float("nan")], [10**400]],
)
def test_what_is_no_vector_becomes_no_base64(embedding: Any) -> None:
    with pytest.raises(NotRecodable):
        recoded({"data": [{"embedding": embedding}]}, "base64")


@pytest.mark.parametrize(
    "embedding", ["!", "AAA=", "AAAAAAA=", base64.b64encode(b"\x00\x00\xc0\x7f").decode(), 5, None]
)
def test_what_is_no_float32_becomes_no_numbers(embedding: Any) -> None:
    with pytest.raises(NotRecodable):
        recoded({"data": [{"embedding": embedding}]}, "float")


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": [5]}])
def test_what_holds_no_embeddings_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(NotRecodable):
        recoded(answer, "float")


def test_another_encoding_is_none_of_ours() -> None:
    with pytest.raises(NotRecodable):
        recoded(as_numbers([[0.5]]), "int8")


@pytest.mark.parametrize(
    ("body", "encoding"),
    [({}, "float"), ({"encoding_format": None}, "float"), ({"encoding_format": "base64"}, "base64"),
     ({"encoding_format": "int8"}, "int8"), ({"encoding_format": 5}, "float")],
)  # fmt: skip
def test_a_request_that_says_nothing_wants_numbers(body: dict[str, Any], encoding: str) -> None:
    assert encoding_of(body) == encoding
