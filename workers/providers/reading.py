"""Reading what an upstream sends without trusting it: bounded in bytes, in compression ratio and in depth."""

import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson

from workers.providers.protocol import ProviderError

MAX_DEPTH = 64
_MAX_RATIO = 20
_RATIO_FREE_BYTES = 65_536  # short replies may compress as well as they like

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def bad_reply(message: str, status: int | None = None) -> ProviderError:
    """The upstream answered something that is not an answer."""
    return ProviderError("bad_reply", message, retryable=True, upstream_status=status)


def too_large(limit: int) -> ProviderError:
    """The reply exceeds the deployment's `max_reply_bytes`. Asking again would give the same."""
    return ProviderError("reply_too_large", f"the reply is larger than {limit} bytes", retryable=False)


def parse(raw: bytes) -> Any:
    """JSON of at most 64 levels, strict (no NaN, valid UTF-8, no lone surrogates). Raises ProviderError `bad_reply`.

    NUL characters, which no database text may hold, become U+FFFD.
    """
    if b"\\u0000" in raw:
        raw = _NUL.sub(rb"\1\\ufffd", raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise bad_reply("the reply is not valid JSON") from None
    # Few brackets cannot be deep: nearly every reply ends here.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise bad_reply(f"the reply is nested deeper than {MAX_DEPTH} levels")
    return value


def _depth(raw: bytes) -> int:
    """Depth of valid JSON, without a walk in Python: each pass takes off the innermost level everywhere."""
    brackets = _STRINGS.sub(b"", raw).translate(_SQUARE, _NOT_BRACKETS)
    depth = 0
    while brackets and depth <= MAX_DEPTH:
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    return depth


def decoder(encoding: str, limit: int) -> Callable[[bytes], bytes]:
    """Turn pieces of a body in `encoding` (a Content-Encoding) into plain ones, refusing bombs. Raises ProviderError.

    Compression is never asked for; some servers send it all the same.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return lambda chunk: chunk
        case "gzip" | "x-gzip" | "deflate":
            return _Inflater(limit)
        case _:
            raise bad_reply("the reply is encoded in a way that was not asked for")


class _Inflater:
    def __init__(self, limit: int) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its head
        self._limit = limit
        self._packed = 0
        self._plain = 0

    def __call__(self, chunk: bytes) -> bytes:
        self._packed += len(chunk)
        allowed = min(self._limit, max(_RATIO_FREE_BYTES, self._packed * _MAX_RATIO))
        room = allowed - self._plain + 1  # one more than allowed, so that too much is seen
        try:
            plain = self._zlib.decompress(chunk, room)
        except zlib.error:
            raise bad_reply("the reply's compression is broken") from None
        self._plain += len(plain)
        if self._plain > self._limit:
            raise too_large(self._limit)
        if self._plain > allowed:
            raise bad_reply(f"the reply is compressed more than {_MAX_RATIO} to 1")
        return plain


async def whole(stream: AsyncIterator[bytes], decode: Callable[[bytes], bytes], limit: int) -> bytes:
    """All bytes of a body, at most `limit`. Raises ProviderError `reply_too_large`."""
    parts: list[bytes] = []
    size = 0
    async for chunk in stream:
        plain = decode(chunk)
        size += len(plain)
        if size > limit:
            raise too_large(limit)
        parts.append(plain)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class EventLines:
    """Splits a server-sent event stream into the `data` of its events. Comments, ids and event names are passed over."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that `chunk` completes. Raises ProviderError when one event exceeds the limit."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._limit:
            raise too_large(self._limit)
        for ended in lines:
            line = ended.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                yield b"\n".join(self._data)
                self._data.clear()

    def end(self) -> Iterator[bytes]:
        """The last event, if the stream ended without the blank line after it."""
        yield from self.feed(b"\n\n")
