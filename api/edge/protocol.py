"""uvicorn's HTTP protocol with limits on what arrives before a request is complete enough to be routed."""

import asyncio
import secrets
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.edge.head import MAX_HEADER_BYTES, MAX_URL_BYTES
from api.problems import CONTENT_TYPE, Problem

HEAD_TIMEOUT_S: Final = 10.0
# A head larger than this is not parsed to its end; smaller ones get their exact verdict from `head.check`.
_MAX_HEAD_BYTES: Final = 2 * (MAX_HEADER_BYTES + MAX_URL_BYTES)


class JoiningTransport:
    """Sends an answer's head together with the first piece of its body: one system call and one packet instead of two.

    Handlers must therefore not wait between the two; closing sends what is held.
    """

    __slots__ = ("_held", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold a final head back."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held: the head of an answer that has no body."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the connection is closed or about to be."""
        return self._transport.is_closing()


class UnframedCycle(RequestResponseCycle):
    """A request by HTTP/1.0, which knows no chunks: a body of unknown length ends with the connection."""

    unframed = False

    async def send(self, message: Any) -> None:
        """Send a part of the answer; uvicorn counts what goes out unchunked, so each piece is announced to it as the last."""
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message.get("headers", ())):
                self.unframed, self.chunked_encoding = True, False
        elif self.unframed:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class EdgeProtocol(HttpToolsProtocol):
    """Cuts off endless and slow heads, and answers malformed HTTP with a problem body.

    A head normally arrives in one piece, so the timer is armed only when one is left incomplete.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_open = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first request's head its time."""
        super().connection_made(transport)
        self.transport = JoiningTransport(transport)  # type: ignore[assignment]
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the timer, which would keep the connection's memory."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see that an unfinished head is neither too large nor without a time limit."""
        if self._head_open:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(Problem("headers_too_large" if self.headers else "url_too_long"))
        elif self._head_timer is None and (self._head_open or self.cycle is None or self.cycle.response_complete):
            self._start_timer()

    def on_message_begin(self) -> None:
        """A head starts."""
        super().on_message_begin()
        self._head_open = True

    def on_headers_complete(self) -> None:
        """The head is there; refuse targets that are not a path, then let uvicorn start the request."""
        self._head_open = False
        self._head_bytes = 0
        self._stop_timer()
        if len(self.url) > _MAX_HEAD_BYTES:
            self._refuse(Problem("url_too_long"))  # the URL parser counts in 16 bits and would call it invalid
            raise ValueError("the URL is too long")
        if not self.url.startswith(b"/"):
            raise ValueError("the request target is not a path")
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None:
            self.cycle.__class__ = UnframedCycle  # uvicorn makes it by name; its task has not begun

    def on_response_complete(self) -> None:
        """An answer is complete, also one to HEAD, for which uvicorn writes no body."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def shutdown(self) -> None:
        """The server stops: send home whoever waits, because long-polls and streams would outlast its patience."""
        stop_waiting = getattr(self.config.loaded_app.state, "stop_waiting", None)
        if stop_waiting is not None:
            stop_waiting()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are replaced
        """Answer what could not be parsed."""
        self._refuse(Problem("invalid_http"))

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._head_open:
            self._refuse(Problem("request_timeout"))
        else:
            self.transport.close()  # never said a word

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or (self.pipeline and cycle.more_body):
                self.transport.close()  # another answer is due, or under way; nothing may be written into it
                return
            if not cycle.more_body:
                # What is wrong came after a whole request: it must not pass for the answer to that one, which is the last.
                cycle.keep_alive = False
                return
        request_id = "req_" + secrets.token_hex(16)
        body = problem.body("", request_id)
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
        )
        status = problem.kind.status
        self.transport.write(
            head % (status, problem.kind.title.encode(), CONTENT_TYPE, len(body), request_id.encode()) + body
        )
        self.transport.close()
