"""JSON as RFC 8259 means it, and no more: what Postgres, other parsers or a reader could take differently is refused.

Refused with 400: anything that is not UTF-8, a byte order mark, NaN and infinities (also by overflow, `1e999`), duplicate
keys, NUL and lone surrogates in text, numbers of thousands of digits, nesting beyond 32. Refused with 422: integers beyond
64 bits. The checks ride on the one pass of the C decoder; only suspicious texts are looked at twice.
"""

import asyncio
import json
import re
from collections.abc import Callable
from math import isinf
from typing import Any, Final

from api.problems import Fault, Problem

MAX_DEPTH: Final = 32
_IN_THREAD_BYTES: Final = 256 * 1024
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**63 - 1
_DIGIT_LIMIT: Final = 4_300  # longer numbers cost quadratic time to convert

# Possessive: a string of ten megabytes must not leave ten million points to backtrack to.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ALL_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SPACES = re.compile(r"[ \t\r\n]*+")
#: Deep texts are refused unread: reading them item by item could overflow the stack.
_NOT_IN_AN_ITEM: Final = frozenset({"json_too_deep"})
_SUSPICIOUS_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Problem("duplicate_key", f"The member {name[:64]!r} is there more than once.")
            seen.add(name)
    return members


def _integer(text: str) -> int:
    if len(text) > _DIGIT_LIMIT:
        raise Problem("invalid_number", "A number has too many digits.")
    value = int(text)
    if not _MIN_INT <= value <= _MAX_INT:
        raise Problem("integer_too_large", "Integers must fit in 64 bits; send larger ones as strings.")
    return value


def _float(text: str) -> float:
    if len(text) > _DIGIT_LIMIT:
        raise Problem("invalid_number", "A number has too many digits.")
    value = float(text)
    if isinf(value):
        raise Problem("invalid_number", "A number is too large for a double.")
    return value


def _constant(text: str) -> float:
    raise Problem("invalid_number", f"{text} is not JSON.")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def deeper_than(raw: bytes, limit: int) -> bool:
    """Tell whether the JSON text nests arrays and objects more than `limit` levels deep.

    Runs at C speed and without recursion. For a text whose brackets do not match the answer may be True.
    """
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    brackets = _STRINGS.sub(b"", raw).translate(_ALL_AS_SQUARE, _NOT_BRACKETS)
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _check_text(value: Any) -> None:
    """Raise for NUL or a lone surrogate in any string or key; depth is bounded by the caller."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\x00" in item:
                raise Problem("invalid_text", "The character NUL is not accepted.")
            try:
                item.encode()
            except UnicodeEncodeError:
                raise Problem("invalid_text", "A lone surrogate is not a character.") from None
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def parse(raw: bytes, *, one_line: bool = False) -> Any:
    """Return the value of a JSON text; for one line of several a problem names the column alone.

    Raises:
        Problem: 400, or 422 for an integer beyond 64 bits.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Problem("invalid_json", "The body starts with a byte order mark.")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Problem("invalid_text", "The body is not UTF-8.") from None
    if deeper_than(raw, MAX_DEPTH):
        raise Problem("json_too_deep", f"Arrays and objects may nest {MAX_DEPTH} levels deep.")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if not text.strip(" \t\r\n"):
            raise Problem("invalid_json", "The body is empty.") from None
        place = f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        raise Problem("invalid_json", f"{error.msg} at {place}.") from None
    if "\\u" in text and _SUSPICIOUS_ESCAPE.search(text):
        _check_text(value)
    return value


def parse_items(raw: bytes) -> Any:
    """Return the value of a JSON text as `parse` does. In an array, a problem names the item that it was found in.

    Raises:
        Problem: as `parse`, with `errors` where the item could be told.
    """
    try:
        return parse(raw)
    except Problem as problem:
        if problem.code not in _NOT_IN_AN_ITEM:
            _find_item(raw, problem)
        raise


def _find_item(raw: bytes, problem: Problem) -> None:
    """Add to the problem which item of the array it is in, by reading the items up to it once more, one by one."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    at, index = _after_spaces(text, 0), 0
    if text[at : at + 1] != "[":
        return
    at = _after_spaces(text, at + 1)
    while text[at : at + 1] not in ("]", ""):
        try:
            item, at = _DECODER.raw_decode(text, at)
            _check_text(item)
        except Problem as found:
            if found.code == problem.code:
                problem.errors = [Fault(f"/{index}", found.detail, index + 1)]
            return
        except json.JSONDecodeError as error:
            problem.errors = [Fault(f"/{index}", f"{error.msg} at character {error.pos + 1} of the body.", index + 1)]
            return
        at = _after_spaces(text, at)
        if text[at : at + 1] == ",":
            at, index = _after_spaces(text, at + 1), index + 1
        elif text[at : at + 1] != "]":
            detail = f"Expecting ',' or ']' at character {at + 1} of the body."
            problem.errors = [Fault(f"/{index}", detail, index + 1)]
            return


def _after_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return found.end() if found else at


async def parse_body(raw: bytes, parser: Callable[[bytes], Any] = parse) -> Any:
    """Return the value of a JSON text; large ones are parsed in a thread so that other requests go on.

    Raises:
        Problem: as `parser`.
    """
    if len(raw) > _IN_THREAD_BYTES:
        return await asyncio.to_thread(parser, raw)
    return parser(raw)


def an_object(value: Any) -> dict[str, Any]:
    """Return `value` if it is a JSON object.

    Raises:
        Problem: 422.
    """
    if not isinstance(value, dict):
        raise Problem("invalid_request", "The body must be a JSON object.")
    return value
