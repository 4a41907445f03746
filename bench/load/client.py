"""A minimal HTTP/1.1 client: keep-alive, one request at a time, answers with a content-length only."""

import asyncio
from typing import Final, cast

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class BadAnswer(Exception):
    """The server answered something that this client does not read, or hung up."""


class HttpClient(asyncio.Protocol):
    """One connection. ``request`` takes the bytes to send and returns the status; the body is in ``body`` until the next one."""

    __slots__ = ("_answer", "_buffer", "_head", "_loop", "_need", "_transport", "body")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._head = 0
        self._need = 0
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self.body = b""

    @classmethod
    async def open(cls, host: str, port: int) -> "HttpClient":
        """Connect."""
        _, client = await asyncio.get_running_loop().create_connection(cls, host, port)
        return client

    def request(self, data: bytes) -> "asyncio.Future[int]":
        """Send a whole request; the future brings its status."""
        if self._transport is None or self._transport.is_closing():
            raise BadAnswer("the server closed the connection")
        self._answer = self._loop.create_future()
        self._transport.write(data)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BadAnswer(f"the server hung up: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._need and not self._read_head():
            return
        if len(self._buffer) < self._need or self._answer is None:
            return
        self.body = self._buffer[self._head : self._need]
        status = int(self._buffer[9:12])
        self._buffer, self._need = self._buffer[self._need :], 0
        answer, self._answer = self._answer, None
        if not answer.done():
            answer.set_result(status)

    def _read_head(self) -> bool:
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            return False
        at = self._buffer.find(_LENGTH, 0, end)
        if at < 0:
            at = self._buffer[:end].lower().find(_LENGTH)
        length = 0
        if at >= 0:
            at += len(_LENGTH)
            stop = self._buffer.find(b"\r", at)
            length = int(self._buffer[at:stop])
        self._head = end + len(_END_OF_HEAD)
        self._need = self._head + length
        return True


def head(method: str, path: str, host: str, *, key: str | None = None, more: str = "", length: int = 0) -> bytes:
    """Return the head of a request with what every client sends."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "user-agent: bench", "accept: application/json"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if method == "POST":
        lines += ["content-type: application/json", f"content-length: {length}"]
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()
