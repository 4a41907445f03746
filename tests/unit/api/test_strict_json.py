"""The strict parser accepts what the standard one accepts, less the classes it names."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.problems import Problem
from api.strict_json import MAX_DEPTH, deeper_than, parse, parse_body

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=30
)


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * levels + closing * levels).encode()


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def code_of(raw: bytes) -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        parse(raw)
    return caught.value.kind.status, caught.value.code


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_every_proper_value_comes_back_as_the_standard_parser_reads_it(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if depth(value) <= MAX_DEPTH:
        assert parse(text.encode()) == json.loads(text) == value


@given(st.text(alphabet='[]{}",:\\ntrue0123.eE+-u0dDf8 ', max_size=40) | st.text(max_size=20))
@example("[1e999]")
@example('{"a":1,"a":2}')
@example('"\\ud800"')
def test_what_the_standard_parser_refuses_is_refused_too(text: str) -> None:
    raw = text.encode(errors="surrogatepass")
    try:
        theirs = json.loads(text)
    except ValueError:
        theirs = None
        refused = True
    else:
        refused = False
    try:
        mine = parse(raw)
    except Problem:
        return
    assert not refused
    assert mine == theirs


@given(VALUES, st.integers(0, 6))
def test_counting_brackets_agrees_with_walking_the_value(value: Any, limit: int) -> None:
    assert deeper_than(json.dumps(value).encode(), limit) is (depth(value) > limit)


@given(st.text(alphabet='[]{}"\\ a', max_size=60), st.integers(0, 4))
def test_brackets_inside_strings_do_not_count(text: str, limit: int) -> None:
    assert deeper_than(json.dumps([text]).encode(), limit) is (limit < 1)


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b" \n", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"{'a':1}", 400, "invalid_json"),
        (b"{} x", 400, "invalid_json"),
        (b'"a\nb"', 400, "invalid_json"),
        (b"\xef\xbb\xbf{}", 400, "invalid_json"),
        ("{}".encode("utf-16"), 400, "invalid_text"),
        ("{}".encode("utf-16-le"), 400, "invalid_json"),
        ("{}".encode("utf-32-be"), 400, "invalid_json"),
        (b'"\xff"', 400, "invalid_text"),
        (b'"\xed\xa0\x80"', 400, "invalid_text"),
        (b'"\\ud800"', 400, "invalid_text"),
        (b'{"\\uDC00":1}', 400, "invalid_text"),
        (b'["\\ud83d \\ude00"]', 400, "invalid_text"),
        (b'"\\u0000"', 400, "invalid_text"),
        (b'{"a\\u0000":1}', 400, "invalid_text"),
        (b"NaN", 400, "invalid_number"),
        (b"[-Infinity]", 400, "invalid_number"),
        (b"1e999", 400, "invalid_number"),
        (b"-1e200000", 400, "invalid_number"),
        (b"9" * 5000, 400, "invalid_number"),
        (b"1." + b"0" * 5000, 400, "invalid_number"),
        (b"9223372036854775808", 422, "integer_too_large"),
        (b"[-9223372036854775809]", 422, "integer_too_large"),
        (b'{"a":1,"a":1}', 400, "duplicate_key"),
        (b'{"b":[{"a":1,"\\u0061":1}]}', 400, "duplicate_key"),
        (nested(33), 400, "json_too_deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, 400, "json_too_deep"),
        (nested(900), 400, "json_too_deep"),
        (b"[" * 200_000, 400, "json_too_deep"),
        (b'[{"a":' * 100_000, 400, "json_too_deep"),
    ],
)
def test_each_class_of_bad_json_has_its_status_and_code(raw: bytes, status: int, code: str) -> None:
    assert code_of(raw) == (status, code)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"9223372036854775807", 2**63 - 1),
        (b'"\\ufeff"', "\ufeff"),
        ('"\u202e\u0000"'.replace("\x00", "e\u0301").encode(), "\u202ee\u0301"),
    ],
)
def test_text_that_only_looks_suspicious_is_kept_to_the_letter(raw: bytes, value: object) -> None:
    assert parse(raw) == value


def test_thirty_two_levels_and_many_brackets_beside_each_other_are_fine() -> None:
    assert depth(parse(nested(32))) == 32
    assert len(parse(b"[" + b"{}," * 5000 + b"[]]")) == 5001


async def test_a_large_body_is_parsed_beside_the_event_loop() -> None:
    text = "x" * 600_000
    assert await parse_body(json.dumps([text]).encode()) == [text]
