import gzip
import json
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.protocol import ProviderError
from workers.providers.reading import MAX_DEPTH, EventLines, decoder, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@given(json_values)
def test_what_was_written_as_json_is_read_the_same_but_for_nul(value: Any) -> None:
    text = json.dumps(value)
    assert parse(text.encode()) == json.loads(text.replace("\\u0000", "\\ufffd")) or "\\\\u0000" in text


def test_a_nul_becomes_a_replacement_character_and_an_escaped_backslash_stays() -> None:
    assert parse(b'["a\\u0000\\u0000b", "\\\\u0000", "\\\\\\u0000"]') == ["a��b", "\\u0000", "\\�"]


def test_depth_is_counted_in_levels_and_not_in_brackets() -> None:
    parse(nested(MAX_DEPTH))
    parse(b"[" + b",".join([b"[]"] * 500) + b"]")
    parse(json.dumps(["[" * 500, '"[[' * 500, {"{": "\\"}]).encode())
    with pytest.raises(ProviderError, match="nested deeper"):
        parse(nested(MAX_DEPTH + 1))
    with pytest.raises(ProviderError, match="nested deeper"):
        parse(b'{"a":[' * 33 + b"]}" * 33)


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b'{"a":', b'{"a":NaN}', b'{"a":Infinity}', b'"\xff"', b'"\\ud800"', nested(50_000)]
)
def test_what_is_not_strict_json_is_a_bad_reply_worth_another_try(raw: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        parse(raw)
    assert caught.value.code == "bad_reply" and caught.value.retryable


@given(st.binary(max_size=300))
def test_any_bytes_are_json_or_a_bad_reply(raw: bytes) -> None:
    codes = []
    try:
        parse(raw)
    except ProviderError as error:
        codes.append(error.code)
    assert codes in ([], ["bad_reply"])


EVENTS = [b'{"a":1}', '{"ä":"€"}'.encode(), b"[DONE]"]
STREAM = (
    b": hello\n\nid: 7\nevent: x\ndata: "
    + EVENTS[0]
    + b"\n\ndata:"
    + EVENTS[1]
    + b"\r\n\r\n\n\ndata: "
    + EVENTS[2]
    + b"\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_stream_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    lines = EventLines(1000)
    found = [data for start, end in pairwise(places) for data in lines.feed(STREAM[start:end])]
    assert found == EVENTS


def test_an_event_of_several_data_lines_is_joined() -> None:
    assert list(EventLines(100).feed(b"data: a\ndata: b\n\n")) == [b"a\nb"]


def test_the_last_event_counts_without_its_blank_line() -> None:
    lines = EventLines(100)
    assert list(lines.feed(b"data: a")) == []
    assert list(lines.end()) == [b"a"]


def test_a_line_without_end_is_cut_off() -> None:
    lines = EventLines(100)
    with pytest.raises(ProviderError, match="larger than 100 bytes"):
        list(lines.feed(b"data: " + b"x" * 100))


@pytest.mark.parametrize("packed", [gzip.compress(b"x" * 3000), zlib.compress(b"x" * 3000)])
def test_a_compressed_reply_is_read_in_any_pieces(packed: bytes) -> None:
    decode = decoder("gzip", 10_000)
    assert b"".join(decode(packed[i : i + 1]) for i in range(len(packed))) == b"x" * 3000


@pytest.mark.parametrize(
    ("size", "limit", "code"), [(20_000, 10_000, "reply_too_large"), (5_000_000, 10_000_000, "bad_reply")]
)
def test_a_bomb_is_refused_by_size_or_by_ratio(size: int, limit: int, code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        decoder("gzip", limit)(gzip.compress(b" " * size))
    assert caught.value.code == code


def test_broken_or_unknown_encodings_are_bad_replies() -> None:
    with pytest.raises(ProviderError, match="broken"):
        decoder("gzip", 1000)(b"not gzip at all")
    with pytest.raises(ProviderError, match="not asked for"):
        decoder("br", 1000)
    assert decoder("identity", 10)(b"x") == b"x"
