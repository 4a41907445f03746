"""One try of one webhook over HTTP/1.1.

What may go wrong is an `Outcome`, never an exception. Error codes:

    blocked_address   the URL or an address of its name may not be dialled; nothing was sent
    dns_error         the name has no address
    connect_error     no connection: refused, unreachable
    tls_error         no trusted TLS session: certificate, name, protocol
    disconnected      the connection ended before an answer
    bad_response      the answer is not HTTP
    timeout           no complete answer head in time
    redirect          a 3xx; never followed
    gone              a 410: the receiver wants no more
    http_error        any other status than 2xx
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from policies.addresses import Openings, Target, UrlRefused, check_url
from policies.backoff import parse_retry_after
from workers.webhooks.resolver import AddressBlocked, CheckedResolver, Lookup, SystemLookup, check_dial

_MAX_ANSWER_BYTES = 64 * 1024
# The status decides; the body is read only so that the connection can be used again, and not for long.
_ANSWER_BODY_TIMEOUT_S = 1.0
# Below the five seconds after which many servers close an idle connection, so that we seldom write into a closing one.
_KEEPALIVE_S = 4.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a try ended. `status` is the HTTP status if there was an answer; `error` a code, None for success."""

    status: int | None
    error: str | None
    duration_ms: float
    retry_after_s: float | None = None


class Sender:
    """Posts webhooks where it is allowed to. Belongs to the event loop that it is made on; close it with `aclose`.

    Args:
        openings: the operator's exceptions to the address rules.
        timeout_s: limit of one try, from the name lookup to the answer's head.
        lookup: resolves names; by default the operating system does.
        ssl_context: what to trust; by default the system's certificate authorities.
        dns_cache_s: seconds that the addresses of a name, once checked, are remembered; 0 asks every time.
    """

    def __init__(
        self,
        openings: Openings,
        *,
        timeout_s: float,
        lookup: Lookup | None = None,
        ssl_context: ssl.SSLContext | None = None,
        dns_cache_s: int = 10,
    ) -> None:
        self._openings = openings
        self._timeout_s = timeout_s
        self._dns_cache_s = dns_cache_s
        self._system = SystemLookup()
        chosen = lookup or self._system
        context = ssl_context or ssl.create_default_context()
        self._sessions = {scheme: self._session(scheme, chosen, context) for scheme in ("https", "http")}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Send `body` once. Raises nothing but CancelledError, upon which the connection is closed."""
        started = time.perf_counter()
        status, error, retry_after = None, None, None
        try:
            scheme = check_url(url, self._openings).scheme
            async with asyncio.timeout(self._timeout_s):
                status, retry_after = await self._exchange(self._sessions[scheme], url, headers, body)
            error = _judge(status)
        except (UrlRefused, aiohttp.ClientError, ValueError, OSError) as failure:
            error = _classify(failure)
        return Outcome(status, error, (time.perf_counter() - started) * 1000, retry_after)

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._system.close()

    async def _exchange(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, float | None]:
        try:
            return await self._once(session, url, headers, body)
        except aiohttp.ServerDisconnectedError:
            # Most likely the receiver closed an idle connection just as we took it; the webhook-id makes a second copy
            # harmless.
            return await self._once(session, url, headers, body)

    async def _once(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, float | None]:
        response = await session.post(URL(url), data=body, headers=headers, allow_redirects=False)
        try:
            retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with asyncio.timeout(_ANSWER_BODY_TIMEOUT_S):
                    await _drop_body(response)
            return response.status, retry_after
        finally:
            response.close()  # no effect on a connection whose answer was read to its end: that one is back in the pool

    def _session(self, scheme: str, lookup: Lookup, context: ssl.SSLContext) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(scheme, lookup, self._openings),
            socket_factory=_socket_factory(scheme, self._openings),
            use_dns_cache=self._dns_cache_s > 0,
            ttl_dns_cache=self._dns_cache_s,
            keepalive_timeout=_KEEPALIVE_S,
            limit=0,
            ssl=context,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_MAX_ANSWER_BYTES,
        )


def _socket_factory(scheme: str, openings: Openings) -> Callable[[Any], socket.socket]:
    """The last check, on the very address that gets dialled, whatever way it came here."""

    def make(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, where = info
        check_dial(Target(scheme, "", int(where[1]), None), str(where[0]), openings)
        return socket.socket(family, kind, protocol)

    return make


async def _drop_body(response: aiohttp.ClientResponse) -> None:
    dropped = 0
    while dropped <= _MAX_ANSWER_BYTES:
        chunk = await response.content.readany()
        if not chunk:
            return
        dropped += len(chunk)


def _judge(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if status == 410:
        return "gone"
    return "redirect" if 300 <= status < 400 else "http_error"


def _classify(failure: BaseException) -> str:
    cause = failure.__cause__ or failure
    table: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        ((AddressBlocked, UrlRefused, aiohttp.InvalidURL), "blocked_address"),
        (aiohttp.ClientSSLError, "tls_error"),
        (TimeoutError, "timeout"),
        (aiohttp.ClientConnectorDNSError, "dns_error"),
        (aiohttp.ClientConnectorError, "connect_error"),
        (aiohttp.ClientResponseError, "bad_response"),
        ((aiohttp.ClientConnectionError, OSError), "disconnected"),
    )
    for kinds, code in table:
        if isinstance(cause, kinds) or isinstance(failure, kinds):
            return code
    return "bad_response"
