"""One HTTP/1.1 connection: parsing, keep-alive, writing.

A raw protocol, because the simulator shares the machine with what is measured against it.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import httptools

_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed", 429: b"Too Many Requests"}
_KEPT_HEADERS = frozenset(
    {b"authorization", b"traceparent", b"x-coatcheck-job-id", b"accept-encoding", b"content-type"}
)


@dataclass(slots=True)
class Request:
    """One request as received. Only the headers that the simulator uses or records are kept."""

    method: bytes = b""
    target: bytes = b""
    headers: dict[bytes, str] = field(default_factory=dict)
    body: bytes = b""


class Handler(Protocol):
    """Who answers requests."""

    def handle(self, connection: "Connection", request: Request) -> None:
        """Answer, now or later, with `connection.respond` or the stream methods, then `connection.finished()`."""

    def opened(self, connection: "Connection") -> None:
        """A client connected."""

    def lost(self, connection: "Connection") -> None:
        """The client is gone; an answer under way is a cancelled one."""


class Connection(asyncio.Protocol):
    """Feeds whole requests to the handler, one at a time."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._parts: list[bytes] = []
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._keep_alive = True
        self.paused = False
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything can use it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # TCP servers get a Transport
        self._handler.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # how it was lost does not matter
        self._waiting.clear()
        self._handler.lost(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep_alive = False
            self.respond(400, b'{"error":{"message":"[sim] not HTTP/1.1","type":"invalid_request_error"}}')
            self.transport.close()

    def on_message_begin(self) -> None:
        self._request = Request()
        self._parts = []

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT_HEADERS:
            self._request.headers[name] = value.decode("latin-1")
        elif name == b"expect":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method()
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        keep_alive = self._parser.should_keep_alive()
        if self._busy:
            self._waiting.append((request, keep_alive))
        else:
            self._begin(request, keep_alive)

    def _begin(self, request: Request, keep_alive: bool) -> None:
        self._busy, self._keep_alive = True, keep_alive
        self._handler.handle(self, request)

    def respond(self, status: int, body: bytes, headers: bytes = b"") -> None:
        """Send a whole JSON answer. `headers` are further lines, each ending in CRLF."""
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
            % (status, _REASONS.get(status, b"Status"), len(body), headers, body)
        )

    def start_stream(self, headers: bytes = b"") -> None:
        """Send the head of a chunked event stream."""
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
            b"transfer-encoding: chunked\r\n%b\r\n" % headers
        )

    def send_chunk(self, data: bytes, *, last: bool = False) -> None:
        """Send one chunk of a stream, and its end if it is the `last`. No data is no chunk: an empty one means the end."""
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        self.transport.write(chunk + b"0\r\n\r\n" if last else chunk)

    def finished(self) -> None:
        """The answer is out: take the next request or close."""
        self._busy = False
        if not self._keep_alive:
            self.transport.close()
        elif self._waiting:
            self._begin(*self._waiting.popleft())
