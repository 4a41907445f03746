"""Reading request bodies within their limits of size and time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Receive

from api.problems import Problem


class ClientGone(Exception):
    """The client left before its request was complete; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Largest body in bytes, longest pause and longest whole time in seconds."""

    max_bytes: int
    idle_s: float
    total_s: float


def check_media(headers: dict[bytes, bytes], *accepted: bytes) -> bytes:
    """Return the body's media type.

    Raises:
        Problem: 415 when it is not among `accepted`, is in another charset than UTF-8, or the body is compressed.
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise Problem("unsupported_encoding", param="content-encoding")
    given = headers.get(b"content-type", b"")
    if given in accepted:
        return given
    media, *parameters = [part.strip() for part in given.lower().split(b";")]
    charset_known = all(p in (b"", b"charset=utf-8", b'charset="utf-8"') for p in parameters)
    if media not in accepted or not charset_known:
        names = " or ".join(name.decode() for name in accepted)
        raise Problem("unsupported_media_type", f"Send the body as {names} in UTF-8.", param="content-type")
    return media


def size(number: int) -> str:
    """Return a number of bytes in words."""
    return f"{number // 2**20} MB" if number % 2**20 == 0 else f"{number:,} bytes"


def _too_large(limits: BodyLimits) -> Problem:
    return Problem("body_too_large", f"The body may have at most {size(limits.max_bytes)}.", close=True)


def check_length(headers: dict[bytes, bytes], limits: BodyLimits) -> None:
    """Refuse a body that says it is too large, before a byte of it is read.

    Raises:
        Problem: 413.
    """
    told = headers.get(b"content-length")
    if told is not None and (len(told) > 18 or int(told) > limits.max_bytes):
        raise _too_large(limits)


async def _next(receive: Receive, deadline: float, idle_s: float) -> tuple[bytes, bool]:
    """Return the next piece of the body and whether more will come.

    Raises:
        Problem: 408 when nothing came for `idle_s` seconds or until `deadline`.
        ClientGone: when the connection ended.
    """
    try:
        async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + idle_s)):
            message = await receive()
    except TimeoutError:
        raise Problem("request_timeout", close=True) from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def chunks(receive: Receive, headers: dict[bytes, bytes], limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        Problem: 408 when it is too slow, 413 when it is too large.
        ClientGone: when the connection ends first.
    """
    check_length(headers, limits)
    deadline = asyncio.get_running_loop().time() + limits.total_s
    size, more = 0, True
    while more:
        chunk, more = await _next(receive, deadline, limits.idle_s)
        size += len(chunk)
        if size > limits.max_bytes:
            raise _too_large(limits)
        if chunk:
            yield chunk


async def read(receive: Receive, headers: dict[bytes, bytes], limits: BodyLimits) -> bytes:
    """Return the whole body.

    Raises:
        Problem: 408 when it is too slow, 413 when it is too large.
        ClientGone: when the connection ends first.
    """
    check_length(headers, limits)
    deadline = asyncio.get_running_loop().time() + limits.total_s
    body, more = await _next(receive, deadline, limits.idle_s)
    if not more and len(body) <= limits.max_bytes:
        return body  # nearly always
    pieces, size = [body], len(body)
    while more and size <= limits.max_bytes:
        chunk, more = await _next(receive, deadline, limits.idle_s)
        pieces.append(chunk)
        size += len(chunk)
    if size > limits.max_bytes:
        raise _too_large(limits)
    return b"".join(pieces)
