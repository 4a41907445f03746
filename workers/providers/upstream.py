"""Calls over HTTP, whatever the API's dialect.

A call is: prepare the request · send it · refuse an error status · read the whole body or follow the stream · check the
shape · measure. Each wait has its own limit, and all together the attempt's. What differs between APIs (paths, headers, the
shapes of requests, answers and streams) is a `Dialect`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, cast

import httpx

from policies.catalog import Deployment
from workers.providers import assembly, errors, reading, shape
from workers.providers.clock import Clock, Pace, paced_tokens
from workers.providers.connections import Connections
from workers.providers.limits import upstream_limits
from workers.providers.protocol import Call, ConnectionCounts, Delta, ProviderError, Reply, WarmReport
from workers.providers.transport import ConnectTrace, PooledTransport, StaleConnection

_ERROR_BODY_BYTES = 65_536
_STREAM_OVERHEAD = 8  # a streamed answer comes in this many times its own bytes at most: each token has its frame

OnDelta = Callable[[Delta], None]
Json = dict[str, Any]


class Dialect(Protocol):
    """How one API spells what all of them say. Bodies go in and out in the OpenAI shapes."""

    def path(self, endpoint: str) -> str:
        """Where below the deployment's base URL an endpoint is served. Raises ProviderError when it isn't."""
        ...

    def headers(self, secret: str | None) -> Mapping[str, str]:
        """The headers of every call, the key among them."""
        ...

    def content(self, call: Call) -> bytes:
        """The request as the upstream takes it. Raises ProviderError for one it can't express."""
        ...

    def assembler(self, call: Call, secret: str | None) -> assembly.Assembler:
        """Takes the events of a streamed answer; its body is what the same request gets without streaming."""
        ...

    def answer(self, call: Call, body: Any, secret: str | None) -> Json:
        """The OpenAI body of a whole or assembled answer. Raises ProviderError if it is none."""
        ...


class UpstreamProvider:
    """Runs calls over kept connections. One instance a process, used from one event loop.

    Args:
        dialect: of the API.
        environment: where the keys are found.
        transport: takes the place of the pool.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        environment: Mapping[str, str] = os.environ,
        transport: PooledTransport | None = None,
    ) -> None:
        self._dialect = dialect
        self._environment = environment
        self._connections = Connections(transport)
        self._targets: dict[tuple[str, str], _Target] = {}

    async def call(self, call: Call, on_delta: OnDelta | None) -> Reply:
        """Run one call; see `Provider.call`. Cancelling the task closes the upstream connection or stream."""
        target = self._target(call.deployment, call.endpoint)
        clock = Clock(call)
        try:
            async with asyncio.timeout(None) as limit:
                clock.limit = limit
                try:
                    return await self._exchange(call, target, clock, on_delta)
                except StaleConnection:
                    # Nobody began to answer: a second try on a fresh connection is what a retry would do, only sooner.
                    return await self._exchange(call, target, clock, on_delta)
        except TimeoutError:
            raise clock.error() from None
        except httpx.TransportError as error:
            raise errors.from_transport(error, reading=clock.phase == "read") from error

    async def warm(self, deployment: Deployment) -> WarmReport:
        """Open connections into the pool that calls use; see `Provider.warm`."""
        try:
            target = self._target(deployment, "/v1/models")
        except ProviderError as error:
            return WarmReport(error=error.message)
        return await self._connections.warm(deployment, target.url, list(target.headers))

    def connections(self) -> Mapping[str, ConnectionCounts]:
        """How calls got their connections, by deployment."""
        return self._connections.counts

    async def aclose(self) -> None:
        """Close all connections; calls under way are cut off."""
        await self._connections.aclose()

    async def _exchange(self, call: Call, target: "_Target", clock: Clock, on_delta: OnDelta | None) -> Reply:
        deployment = call.deployment
        trace = ConnectTrace()
        content = self._dialect.content(call)
        clock.enter("first_byte", deployment.connect_timeout_s + deployment.first_byte_timeout_s)
        started = perf_counter()
        response = await self._connections.transport(deployment).send(
            "POST",
            target.url,
            [*target.headers, *call.headers.items()],
            content,
            connect_s=deployment.connect_timeout_s,
            trace=trace,
        )
        self._connections.count(deployment, trace)
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            clock.enter("read", deployment.read_timeout_s)
            chunks = clock.watch(stream)
            if response.status_code // 100 != 2:
                raise await _refusal(response, chunks, target.secret)
            reply = await self._read(call, response, chunks, target, Pace(started, trace), on_delta)
            reply.limits = upstream_limits(response.headers.raw)
        except ProviderError as error:
            error.limits = error.limits or upstream_limits(response.headers.raw)
            raise
        finally:
            await stream.aclose()
        return reply

    async def _read(
        self,
        call: Call,
        response: httpx.Response,
        chunks: AsyncIterator[bytes],
        target: "_Target",
        pace: Pace,
        on_delta: OnDelta | None,
    ) -> Reply:
        limit = call.deployment.max_reply_bytes
        decode = reading.decoder(response.headers.get("content-encoding", ""), limit)
        if call.stream and response.headers.get("content-type", "").startswith("text/event-stream"):
            assembler = self._dialect.assembler(call, target.secret)
            ended = await _follow(limit, chunks, decode, assembler, pace, on_delta)
            body = self._dialect.answer(call, assembler.body(ended=ended), target.secret)
            usage = shape.usage_of(body)
            return Reply(body, usage, pace.streamed(paced_tokens(usage, assembler.tokens, reasoned=assembler.reasoned)))
        raw = await reading.whole(chunks, decode, limit)
        body = self._dialect.answer(call, reading.parse(raw), target.secret)
        if call.stream and on_delta is not None and (text := assembly.whole_text(call.endpoint, body)):
            on_delta(Delta(text, None))
        usage = shape.usage_of(body)
        return Reply(body, usage, pace.whole(usage))

    def _target(self, deployment: Deployment, endpoint: str) -> "_Target":
        key = (deployment.name, endpoint)
        target = self._targets.get(key)
        if target is None or target.deployment is not deployment:
            target = self._targets[key] = _Target.of(deployment, endpoint, self._dialect, self._environment)
        return target


@dataclass(frozen=True, slots=True)
class _Target:
    """What all calls of a deployment's endpoint have in common."""

    deployment: Deployment
    url: httpx.URL
    headers: tuple[tuple[str, str], ...]
    secret: str | None

    @classmethod
    def of(cls, deployment: Deployment, endpoint: str, dialect: Dialect, environment: Mapping[str, str]) -> "_Target":
        secret = None
        if deployment.api_key_env:
            secret = environment.get(deployment.api_key_env, "").strip()
            if not secret or not secret.isascii() or not secret.isprintable():
                message = f"the environment variable {deployment.api_key_env} holds no usable API key"
                raise ProviderError("unauthorized", message, retryable=False)
        headers = {
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "coatcheck",
            **dialect.headers(secret),
        }
        url = httpx.URL((deployment.base_url or "") + dialect.path(endpoint))
        return cls(deployment, url, tuple(headers.items()), secret)


async def _refusal(response: httpx.Response, chunks: AsyncIterator[bytes], secret: str | None) -> ProviderError:
    """The error of a status that is not 2xx. Whatever is wrong with its body, the status still counts."""
    body: Any = None
    try:
        decode = reading.decoder(response.headers.get("content-encoding", ""), _ERROR_BODY_BYTES)
        body = reading.parse(await reading.whole(chunks, decode, _ERROR_BODY_BYTES))
    except (ProviderError, httpx.TransportError):
        pass
    return errors.from_status(response.status_code, response.headers, body, secret)


async def _follow(
    limit: int,
    chunks: AsyncIterator[bytes],
    decode: Callable[[bytes], bytes],
    assembler: assembly.Assembler,
    pace: Pace,
    on_delta: OnDelta | None,
) -> bool:
    """Feed a stream to its assembler; whether it said that it had ended."""
    lines = reading.EventLines(limit)
    received, ended = 0, False

    def take(data: bytes) -> bool:
        """Whether this event was the end."""
        if data == b"[DONE]":
            return True
        event = reading.parse(data)
        if not isinstance(event, dict):
            raise reading.bad_reply("a streamed event is not a JSON object")
        before = assembler.tokens
        delta = assembler.take(event)
        if assembler.tokens != before:
            pace.token()
        if delta is not None and on_delta is not None:
            on_delta(delta)
        return False

    async for chunk in chunks:
        received += len(chunk)
        if received > limit * _STREAM_OVERHEAD:
            raise reading.too_large(limit)
        # What follows the end in the same chunk does not matter; what follows later is read away so that the
        # connection can be used again.
        if not ended:
            ended = any(take(data) for data in lines.feed(decode(chunk)))
    return ended or any(take(data) for data in lines.end())
