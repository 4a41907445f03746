"""The connections of one provider: which transport carries a deployment's calls, warming, and counts."""

import asyncio
from typing import Final, cast

import httpx

from policies.catalog import Deployment
from workers.providers import errors
from workers.providers.http2 import Http2Transport
from workers.providers.protocol import ConnectionCounts, WarmReport
from workers.providers.transport import ConnectTrace, PooledTransport, StaleConnection, Transport

_WARM_S: Final = 2.0
_WARM_AT_ONCE: Final = 8
_WARM_BYTES: Final = 1_000_000


class Connections:
    """One pool over HTTP/1.1 for all deployments, and connections over HTTP/2 for those that ask for it."""

    def __init__(self, pooled: PooledTransport | None = None) -> None:
        self._pooled = pooled or PooledTransport()
        self._http2 = Http2Transport(self._pooled)
        self.counts: dict[str, ConnectionCounts] = {}

    def transport(self, deployment: Deployment) -> Transport:
        """What carries the calls of a deployment."""
        return self._http2 if deployment.http2 else self._pooled

    def count(self, deployment: Deployment, trace: ConnectTrace) -> None:
        """Note how a call got its connection."""
        counts = self.counts.get(deployment.name)
        if counts is None:
            counts = self.counts[deployment.name] = ConnectionCounts()
        if trace.connect_ms is None:
            counts.reused += 1
        else:
            counts.opened += 1

    async def warm(self, deployment: Deployment, url: httpx.URL, headers: list[tuple[str, str]]) -> WarmReport:
        """Have as many connections open as the deployment's floor of concurrency, at most 8, within 2 s.

        Each is used for one small question, which also keeps the other end from closing it for idleness.
        """
        wanted = min(max(deployment.min_concurrency, 1), _WARM_AT_ONCE)
        greetings = [self._greet(deployment, url, headers) for _ in range(wanted)]
        reports = await asyncio.gather(*greetings)
        opened = sum(report.opened for report in reports)
        if opened:
            self.counts.setdefault(deployment.name, ConnectionCounts()).warmed += opened
        slowest = max((report.connect_ms for report in reports if report.connect_ms is not None), default=None)
        status = next((report.status for report in reports if report.status is not None), None)
        error = next((report.error for report in reports if report.error is not None), None)
        return WarmReport(slowest, opened, status, error if status is None else None)

    async def _greet(self, deployment: Deployment, url: httpx.URL, headers: list[tuple[str, str]]) -> WarmReport:
        trace = ConnectTrace()
        status: int | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(_WARM_S):
                status = await self._ask(deployment, url, headers, trace)
        except TimeoutError:
            error = f"the upstream did not answer within {_WARM_S:g} s"
        except httpx.TransportError as failure:
            error = errors.from_transport(failure, reading=False).message
        except Exception as failure:  # noqa: BLE001 - a greeting that fails must not keep anybody from working
            error = f"the upstream could not be greeted: {type(failure).__name__}"
        return WarmReport(trace.connect_ms, int(trace.connect_ms is not None), status, error)

    async def _ask(
        self, deployment: Deployment, url: httpx.URL, headers: list[tuple[str, str]], trace: ConnectTrace
    ) -> int:
        """Ask for the list of models, which costs nothing and every API has; read the answer away, whatever it says."""
        transport = self.transport(deployment)
        connect_s = min(deployment.connect_timeout_s, _WARM_S)
        try:
            response = await transport.send("GET", url, headers, b"", connect_s=connect_s, trace=trace)
        except StaleConnection:
            response = await transport.send("GET", url, headers, b"", connect_s=connect_s, trace=trace)
        stream = cast("httpx.AsyncByteStream", response.stream)
        received = 0
        try:
            async for chunk in stream:
                received += len(chunk)
                if received > _WARM_BYTES:
                    break  # closing now costs the connection, reading on might cost more
        finally:
            await stream.aclose()
        return response.status_code

    async def aclose(self) -> None:
        """Close all connections; calls under way are cut off."""
        await self._http2.aclose()
        await self._pooled.aclose()
