"""The request's head: read once, judged once, kept for the handlers."""

import random
import re
from typing import Any, Final

from api.problems import Problem

MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
MAX_URL_BYTES: Final = 4 * 1024

#: Headers that mean something to us and of which only one may come.
_SINGLE = frozenset(
    {
        b"host",
        b"authorization",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"idempotency-key",
        b"if-none-match",
        b"last-event-id",
        b"transfer-encoding",
        b"traceparent",
    }
)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
# Percent-encoded characters that only serve to hide a path from whoever reads it: . / \ % and NUL.
_HIDDEN_PATH = re.compile(rb"%(?:2[eEfF5]|5[cC]|00)")
_bits = random.Random().getrandbits


class Head:
    """The facts of one request's head.

    `headers` maps lower-case names to the last value; `traceparent` is a W3C trace context whose parent is this request;
    `alone` says that the answer's head is all that is wanted (the method is HEAD).
    """

    __slots__ = ("alone", "body_done", "close", "headers", "request_id", "route", "status", "tags", "traceparent")

    def __init__(self, headers: dict[bytes, bytes], *, alone: bool = False) -> None:
        self.headers = headers
        self.alone = alone
        asked = headers.get(b"x-request-id")
        if asked is not None and _REQUEST_ID.fullmatch(asked):
            self.request_id = asked.decode()
        else:
            self.request_id = f"req_{_bits(128):032x}"
        self.traceparent = _continued(headers.get(b"traceparent"))
        self.body_done = b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0"
        self.close = False
        self.route = ""
        self.status = 0
        self.tags: list[tuple[bytes, bytes]] = []


def _continued(parent: bytes | None) -> str:
    """Return the trace context for what this request starts: the caller's trace if it sent one, else a new one."""
    known = _TRACEPARENT.fullmatch(parent) if parent else None
    span = _bits(64) or 1
    if known:
        return f"00-{known[1].decode()}-{span:016x}-{int(known[2], 16) & 1:02x}"
    return f"00-{_bits(128) or 1:032x}-{span:016x}-00"


def check(scope: dict[str, Any], head: Head) -> None:
    """Refuse heads that are too large or ambiguous.

    Raises:
        Problem: 400, 404, 414, 431 or 501; all but 404 end the connection.
    """
    raw = scope["headers"]
    headers = head.headers
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        raise Problem("url_too_long", f"URLs may have {MAX_URL_BYTES} bytes.", close=True)
    if len(raw) > MAX_HEADERS:
        raise Problem("headers_too_large", f"At most {MAX_HEADERS} headers are accepted.", close=True)
    size = 4 * len(raw)
    for name, value in raw:
        size += len(name) + len(value)
    if size > MAX_HEADER_BYTES:
        raise Problem("headers_too_large", f"Headers may have {MAX_HEADER_BYTES} bytes in all.", close=True)
    if len(headers) != len(raw):
        _refuse_doubles(raw)
    if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise Problem("unsupported_transfer_encoding", param="transfer-encoding", close=True)
    host = headers.get(b"host", b"" if scope["http_version"] != "1.0" else b"none")
    if not _HOST.fullmatch(host):
        raise Problem("invalid_host", close=True)
    path: bytes = scope["raw_path"]
    if b"%" in path and _HIDDEN_PATH.search(path):
        raise Problem("not_found", "No such path.")


def _refuse_doubles(raw: list[tuple[bytes, bytes]]) -> None:
    seen: set[bytes] = set()
    for name, _ in raw:
        if name in seen and name in _SINGLE:
            code = "invalid_host" if name == b"host" else "invalid_header"
            raise Problem(code, f"The header {name.decode()} is there more than once.", param=name.decode(), close=True)
        seen.add(name)
