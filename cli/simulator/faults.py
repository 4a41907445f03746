"""Replies that no client should have to expect, for `"sim": {"malformed": …}`."""

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

from cli.simulator.connection import Connection

_CHAT = (
    b'{"id":"chatcmpl-sim","object":"chat.completion","created":1,"model":"sim/chat","choices":[{"index":0,"message":'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class Fault:
    """A reply that goes wrong. `done` is called when it is over, unless the client leaves first."""

    def __init__(self, connection: Connection, sim: Mapping[str, Any], done: Callable[[], None]) -> None:
        self.connection = connection
        self.sim = sim
        self.done = done
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to answer."""
        raise NotImplementedError

    def stop(self) -> None:
        """The exchange is over: nothing more may be written."""
        if self.timer is not None:
            self.timer.cancel()

    def write(self, data: bytes) -> None:
        self.connection.transport.write(data)

    def later(self, delay_s: float, then: Callable[[], None]) -> None:
        self.timer = asyncio.get_running_loop().call_later(delay_s, then)


def _whole(body: bytes, content_type: bytes = b"application/json") -> type[Fault]:
    """A reply that is complete as HTTP and wrong as an answer."""

    class Whole(Fault):
        def start(self) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (content_type, len(body))
            self.write(head + body)
            self.done()

    return Whole


class Truncated(Fault):
    """Announces more than it sends, then closes."""

    def start(self) -> None:
        self.write(_HEAD + b"content-length: 5000\r\n\r\n" + _CHAT)
        self.connection.transport.close()
        self.done()


class TruncatedChunks(Fault):
    """Closes without the last chunk."""

    def start(self) -> None:
        self.write(_HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(_CHAT), _CHAT))
        self.connection.transport.close()
        self.done()


class Reset(Fault):
    """Resets the connection in the middle of the body."""

    def start(self) -> None:
        transport = self.connection.transport
        self.write(_HEAD + b"content-length: 5000\r\n\r\n" + _CHAT)
        raw: socket.socket = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.later(0.02, self._abort)  # the first bytes shall arrive before the reset overtakes them

    def _abort(self) -> None:
        self.connection.transport.abort()
        self.done()


class HalfClose(Fault):
    """Ends its side inside the head."""

    def start(self) -> None:
        self.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
        self.connection.transport.close()
        self.done()


class NotHttp(Fault):
    """Answers something that is not HTTP."""

    def start(self) -> None:
        self.write(b"220 mail.example ESMTP\r\n")
        self.connection.transport.close()
        self.done()


class HangAfterHeaders(Fault):
    """Sends the head and never the body."""

    def start(self) -> None:
        self.write(_HEAD + b"content-length: 5000\r\n\r\n")


class Slow(Fault):
    """A byte every `every_ms` (default one second), without end."""

    def start(self) -> None:
        self.write(_HEAD + b"transfer-encoding: chunked\r\n\r\n")
        self._drip()

    def _drip(self) -> None:
        self.write(b"1\r\n \r\n")
        self.later(float(self.sim.get("every_ms", 1000)) / 1000, self._drip)


class Huge(Fault):
    """A valid reply of `bytes` (default 64 MB), as fast as it is read."""

    _PIECE = b"x" * 262_144

    def start(self) -> None:
        self.left = int(self.sim.get("bytes", 64_000_000))
        self.write(_HEAD + b"transfer-encoding: chunked\r\n\r\n")
        self._chunk(_CHAT + b'{"role":"assistant","content":"[sim] ')
        self._pump()

    def _chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _pump(self) -> None:
        while self.left > 0 and not self.connection.paused:
            piece = self._PIECE[: self.left]
            self.left -= len(piece)
            self._chunk(piece)
        if self.left > 0:
            self.later(0.002, self._pump)
            return
        self._chunk(b'"},"finish_reason":"stop"}]}')
        self.write(b"0\r\n\r\n")
        self.done()


class GzipBomb(Fault):
    """`bytes` (default 64 MB) of blanks, compressed, whether or not the client asked for it."""

    def start(self) -> None:
        body = gzip.compress(b" " * int(self.sim.get("bytes", 64_000_000)), compresslevel=1)
        self.write(_HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        self.done()


FAULTS: Mapping[str, type[Fault]] = {
    "html": _whole(b"<html><body><h1>502 Bad Gateway</h1></body></html>", b"text/html"),
    "empty": _whole(b""),
    "bad_json": _whole(_CHAT + b'{"role": assistant}}'),
    "wrong_shape": _whole(b'[{"not": "an object"}]'),
    "deep": _whole(_CHAT + b'{"content":"[sim]","x":' + b"[" * 500 + b"]" * 500 + b"}}]}"),
    "nan": _whole(_CHAT + b'{"role":"assistant","content":"[sim]","score":NaN}}]}'),
    "bad_utf8": _whole(_CHAT + b'{"role":"assistant","content":"[sim] \xff\xfe"}}]}'),
    "truncated": Truncated,
    "truncated_chunks": TruncatedChunks,
    "reset": Reset,
    "half_close": HalfClose,
    "not_http": NotHttp,
    "hang_after_headers": HangAfterHeaders,
    "slow": Slow,
    "huge": Huge,
    "gzip": GzipBomb,
}
