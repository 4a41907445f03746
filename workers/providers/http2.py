"""HTTP/2 for deployments that ask for it: hundreds of calls share some connections, and with them one TLS handshake.

httpx can speak HTTP/2, but its pool never tells a server that a call was cancelled (no RST_STREAM): the model would go on
writing, and billing, for nobody, and what it sends would use up the connection's window until all calls on it stand still. So
this transport sits on h2 itself, the library that httpx uses.

HTTP/2 is agreed on inside TLS (ALPN). Where a server does not agree, and for `http://`, where there is nothing to agree in,
calls go over the pool of HTTP/1.1 connections, which costs less CPU a call anyway.
"""

import asyncio
import ssl
from time import perf_counter
from typing import Final

import httpx

from workers.providers.http2_connection import Http2Connection
from workers.providers.http2_stream import Headers
from workers.providers.transport import ConnectTrace, PooledTransport, default_ssl_context

_HTTPS_PORT: Final = 443
# Of HTTP/1.1's connections; HTTP/2 forbids them.
_NOT_SENT: Final = frozenset({"connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})

Origin = tuple[str, int]


class Http2Transport:
    """Connections by host and port, each with up to 100 calls (fewer where the server says so); as many as the calls need.

    Args:
        fallback: carries calls to servers without HTTP/2.
    """

    def __init__(self, fallback: PooledTransport) -> None:
        self._fallback = fallback
        self._ssl_context: ssl.SSLContext | None = None
        self._connections: dict[Origin, list[Http2Connection]] = {}
        self._locks: dict[Origin, asyncio.Lock] = {}
        self._without: set[Origin] = set()

    async def send(
        self,
        method: str,
        url: httpx.URL,
        headers: list[tuple[str, str]],
        content: bytes,
        *,
        connect_s: float | None,
        trace: ConnectTrace,
    ) -> httpx.Response:
        """Send a request; see `Transport.send`. Raises httpx exceptions."""
        origin = (url.host, url.port or _HTTPS_PORT)
        connection = None
        if url.scheme == "https" and origin not in self._without:
            connection = self._with_room(origin) or await self._one_more(origin, connect_s, trace)
        if connection is None:
            return await self._fallback.send(method, url, headers, content, connect_s=connect_s, trace=trace)
        stream = await connection.send(_request_headers(method, url, headers, content), content)
        return httpx.Response(
            stream.status, headers=stream.headers, stream=stream, extensions={"http_version": b"HTTP/2"}
        )

    async def aclose(self) -> None:
        """Close all connections, used ones included."""
        for connections in self._connections.values():
            for connection in connections:
                connection.close()
        self._connections.clear()

    def _with_room(self, origin: Origin) -> Http2Connection | None:
        """The fullest connection that takes one more call, so that those that are not needed fall idle and end."""
        usable = [one for one in self._connections.get(origin, ()) if not one.closing]
        if origin in self._connections:
            self._connections[origin] = usable
        return min((one for one in usable if one.room > 0), key=lambda one: one.room, default=None)

    async def _one_more(self, origin: Origin, connect_s: float | None, trace: ConnectTrace) -> Http2Connection | None:
        # Calls that start together wait here for the first one's connection instead of opening one each.
        async with self._locks.setdefault(origin, asyncio.Lock()):
            if origin in self._without:
                return None
            connection = self._with_room(origin)
            if connection is None:
                started = perf_counter()
                connection = await self._connect(origin, connect_s)
                if connection is None:
                    self._without.add(origin)
                    return None
                trace.connect_ms = (perf_counter() - started) * 1000
                self._connections.setdefault(origin, []).append(connection)
            return connection

    async def _connect(self, origin: Origin, connect_s: float | None) -> Http2Connection | None:
        """A connection whose server has told its limits; None if it does not speak HTTP/2."""
        loop = asyncio.get_running_loop()
        host, port = origin
        made: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(connect_s):
                made, connection = await loop.create_connection(Http2Connection, host, port, ssl=self._tls())
                agreed = made.get_extra_info("ssl_object").selected_alpn_protocol()
                if agreed != "h2":
                    made.abort()
                    return None
                await connection.settled
        except TimeoutError as error:
            if made is not None:
                made.abort()
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:  # ssl.SSLError and socket.gaierror are of its kind
            raise httpx.ConnectError(str(error)) from error
        except BaseException:
            if made is not None:
                made.abort()
            raise
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
            self._ssl_context.set_alpn_protocols(["h2", "http/1.1"])
        return self._ssl_context


def _request_headers(method: str, url: httpx.URL, headers: list[tuple[str, str]], content: bytes) -> Headers:
    sent = [
        (b":method", method.encode("ascii")),
        (b":authority", url.netloc),
        (b":scheme", b"https"),
        (b":path", url.raw_path),
    ]
    for name, value in headers:
        lower = name.lower()
        if lower not in _NOT_SENT:
            sent.append((lower.encode("latin-1"), value.encode("latin-1")))
    if content:
        sent.append((b"content-length", str(len(content)).encode("ascii")))
    return sent
