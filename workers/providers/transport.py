"""An httpx transport over aiohttp that holds thousands of connections. `docs/adr/0001-upstream-transport.md` says why.

httpx's own pool walks all its connections on every request; aiohttp's is a dictionary. What httpx does above a transport
(cookies, redirects, auth flows, proxies from the environment) is not wanted here, so the provider calls `send`, at less than
half the CPU of `AsyncClient.send`. It remains a transport like any other: `httpx.AsyncClient(transport=PooledTransport())`
works too.
"""

import socket
import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import aiohttp
import certifi
import httpx
from yarl import URL

KEEP_ALIVE_S: Final = (
    30.0  # shorter than the idle limits of common servers and proxies, so that they seldom close first
)
_DNS_TTL_S = 30
_PIECE_BYTES = 262_144
_MOST_URLS = 1000
_HEADERS = "latin-1"
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
# A long answer that is not streamed leaves its connection without a byte for minutes, and home routers, load balancers and
# clouds forget such connections without a word. The kernel asks after 20 s and gives up after three more questions.
_KEEP_ALIVE_PROBES = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


@dataclass(slots=True)
class ConnectTrace:
    """How the connection of one request came about: in so many milliseconds, or None for one that was open already."""

    connect_ms: float | None = None


_CONNECTING: ContextVar[ConnectTrace] = ContextVar("connecting")


class Transport(Protocol):
    """Carries one request to an upstream: `PooledTransport` over HTTP/1.1, `Http2Transport` over HTTP/2."""

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
        """Send a request and return when the head of its answer is there; the response's stream must be closed."""
        ...

    async def aclose(self) -> None:
        """Close all connections, used ones included."""
        ...


def prepare_socket(connection: socket.socket) -> None:
    """Send small pieces at once and notice a peer that has gone without a word."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE_PROBES:
            if hasattr(socket, name):  # Linux and others, each with names of its own
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _new_socket(address: "tuple[Any, ...]") -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    prepare_socket(made)
    return made


class _TimedConnector(aiohttp.TCPConnector):
    """Measures new connections where they are made; aiohttp's own tracing would cost every request a tenth of its time."""

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: "list[Any]", timeout: aiohttp.ClientTimeout
    ) -> "Any":
        started = perf_counter()
        protocol = await super()._create_connection(req, traces, timeout)
        _CONNECTING.get().connect_ms = (perf_counter() - started) * 1000
        return protocol


class StaleConnection(httpx.ReadError):
    """The server closed an idle connection in the moment it was taken up again; not one byte of an answer came."""


class PooledTransport(httpx.AsyncBaseTransport):
    """One pool of keep-alive connections. Its size follows the calls: each takes an idle connection or opens one.

    So a deployment has as many connections as it had calls at once within the last 30 s, at most its `max_concurrency`, and
    no second limit here that calls would wait at. Honours `connect` of the httpx timeout extension; the later phases are
    timed by the caller, who knows what it waits for. Raises httpx exceptions. Use it from one event loop.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[httpx.URL, URL] = {}
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the response's stream must be closed by the caller."""
        headers = [(name.decode(_HEADERS), value.decode(_HEADERS)) for name, value in request.headers.raw]
        connect_s = request.extensions.get("timeout", {}).get("connect")
        return await self.send(
            request.method, request.url, headers, request.content, connect_s=connect_s, trace=ConnectTrace()
        )

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
        """Send what an `httpx.Request` would say, without making one: that alone costs as much as writing it to the socket.

        Args:
            method: for example `POST`.
            url: where to; TLS for `https`.
            headers: all of them but Host and Content-Length.
            content: the body.
            connect_s: longest wait for a connection, in seconds.
            trace: filled with how the connection came about.
        """
        session = self._session or self._open()
        _CONNECTING.set(trace)
        try:
            response = await session.request(
                method,
                self._url(url),
                data=_body(content),
                headers=[*headers, ("Content-Length", str(len(content)))],
                allow_redirects=False,
                timeout=self._timeout(connect_s),
                ssl=self._tls() if url.scheme == "https" else True,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error, reused=trace.connect_ms is None) from error
        reply = httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))
        reply.headers.encoding = _HEADERS  # else httpx guesses it anew at each look at a header
        return reply

    async def aclose(self) -> None:
        """Close all connections, used ones included."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Here and not in __init__: a session belongs to the running loop.
        connector = _TimedConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=_DNS_TTL_S, socket_factory=_new_socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            trust_env=False,
        )
        return self._session

    def _tls(self) -> ssl.SSLContext:
        # Only when needed: reading the lists of authorities blocks for some milliseconds.
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        return self._ssl_context

    def _url(self, url: httpx.URL) -> URL:
        known = self._urls.get(url)
        if known is None:
            if len(self._urls) >= _MOST_URLS:
                # The files and batches of a Batch API have addresses of their own, which are asked a few times and never again.
                self._urls.clear()
            known = self._urls[url] = URL(str(url), encoded=True)
        return known

    def _timeout(self, connect_s: float | None) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(connect_s)
        if known is None:
            known = self._timeouts[connect_s] = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        return known


class _Body(httpx.AsyncByteStream):
    """The bytes of a reply as they arrive; nothing is held back until a buffer is full."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        # A reply that was read to its end has given its connection back already; any other is cut off.
        self._response.close()


def _body(content: bytes) -> bytes | AsyncIterator[bytes]:
    """A large body goes out piece by piece, as fast as it is taken.

    In one piece it would all stand in the connection's buffer, and closing a connection waits for its buffer: an upstream
    that had stopped reading would still get the whole request of a cancelled call.
    """
    return content if len(content) <= _PIECE_BYTES else _pieces(content)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    view = memoryview(content)
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]  # type: ignore[misc]  # aiohttp takes any buffer


def default_ssl_context() -> ssl.SSLContext:
    """Trust what the system trusts (`SSL_CERT_FILE` included) and certifi's list, for images that come without one."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _as_httpx(error: Exception, *, reused: bool = False) -> httpx.TransportError:
    message = str(error) or type(error).__name__
    kind: type[httpx.TransportError]
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind = httpx.ConnectTimeout
        case aiohttp.ServerTimeoutError():
            kind = httpx.ReadTimeout
        case aiohttp.ClientConnectorError() | aiohttp.ClientSSLError():
            kind = httpx.ConnectError
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | BrokenPipeError():
            kind = StaleConnection if reused else httpx.ReadError
        case aiohttp.ClientOSError() | aiohttp.ClientConnectionError() | OSError():
            kind = httpx.ReadError
        case aiohttp.InvalidURL():
            kind = httpx.UnsupportedProtocol
        case _:
            kind = httpx.RemoteProtocolError
    return kind(message)
