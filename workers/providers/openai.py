"""Provider `openai`: any server that speaks the OpenAI API, such as OpenAI, vLLM, llama.cpp, Ollama, or the simulator.

A call is: prepare the request · send it · refuse an error status · read the whole body or follow the stream · check the
shape · measure. Each wait has its own limit, and all together the attempt's.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import httpx
import orjson

from policies.catalog import Deployment
from workers.providers import assembly, errors, reading, shape
from workers.providers.protocol import Call, Delta, ProviderError, Reply, UpstreamTiming, Usage
from workers.providers.transport import ConnectTrace, PooledTransport, StaleConnection

_WITH_STREAM_OPTIONS = frozenset({"/v1/chat/completions", "/v1/completions"})
_ERROR_BODY_BYTES = 65_536
_STREAM_OVERHEAD = 8  # a streamed answer comes in this many times its own bytes at most: each token has its frame

OnDelta = Callable[[Delta], None]


class OpenAIProvider:
    """Runs calls over one pool of connections. One instance a process, used from one event loop."""

    def __init__(
        self, *, environment: Mapping[str, str] = os.environ, transport: PooledTransport | None = None
    ) -> None:
        self._environment = environment
        self._transport = transport or PooledTransport()
        self._targets: dict[tuple[str, str], _Target] = {}

    async def call(self, call: Call, on_delta: OnDelta | None) -> Reply:
        """Run one call; see `Provider.call`. Cancelling the task closes the upstream connection."""
        target = self._target(call)
        clock = _Clock(call)
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

    async def aclose(self) -> None:
        """Close all connections; calls under way are cut off."""
        await self._transport.aclose()

    async def _exchange(self, call: Call, target: "_Target", clock: "_Clock", on_delta: OnDelta | None) -> Reply:
        deployment = call.deployment
        trace = ConnectTrace()
        content = _request_body(call)
        clock.enter("first_byte", deployment.connect_timeout_s + deployment.first_byte_timeout_s)
        started = perf_counter()
        response = await self._transport.send(
            "POST",
            target.url,
            [*target.headers, *call.headers.items()],
            content,
            connect_s=deployment.connect_timeout_s,
            trace=trace,
        )
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            clock.enter("read", deployment.read_timeout_s)
            headers = response.headers
            chunks = clock.watch(stream)
            if response.status_code // 100 != 2:
                raise await _refusal(response, chunks, target.secret)
            decode = reading.decoder(headers.get("content-encoding", ""), deployment.max_reply_bytes)
            if call.stream and headers.get("content-type", "").startswith("text/event-stream"):
                return await _follow(call, chunks, decode, target.secret, _Pace(started, trace), on_delta)
            raw = await reading.whole(chunks, decode, deployment.max_reply_bytes)
        finally:
            await stream.aclose()
        body = shape.checked(call.endpoint, call.body, reading.parse(raw), target.secret)
        if call.stream and on_delta is not None and (text := assembly.whole_text(call.endpoint, body)):
            on_delta(Delta(text, None))
        usage = shape.usage_of(body)
        return Reply(body, usage, _Pace(started, trace).whole(usage))

    def _target(self, call: Call) -> "_Target":
        key = (call.deployment.name, call.endpoint)
        target = self._targets.get(key)
        if target is None or target.deployment is not call.deployment:
            target = self._targets[key] = _Target.of(call.deployment, call.endpoint, self._environment)
        return target


@dataclass(frozen=True, slots=True)
class _Target:
    """What all calls of a deployment's endpoint have in common."""

    deployment: Deployment
    url: httpx.URL
    headers: tuple[tuple[str, str], ...]
    secret: str | None

    @classmethod
    def of(cls, deployment: Deployment, endpoint: str, environment: Mapping[str, str]) -> "_Target":
        headers = {
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "coatcheck",
        }
        secret = None
        if deployment.api_key_env:
            secret = environment.get(deployment.api_key_env, "").strip()
            if not secret or not secret.isascii() or not secret.isprintable():
                message = f"the environment variable {deployment.api_key_env} holds no usable API key"
                raise ProviderError("unauthorized", message, retryable=False)
            headers["authorization"] = f"Bearer {secret}"
        url = httpx.URL((deployment.base_url or "") + endpoint.removeprefix("/v1"))
        return cls(deployment, url, tuple(headers.items()), secret)


def _request_body(call: Call) -> bytes:
    body = {**call.body, "model": call.deployment.upstream_model}
    if call.stream:
        body["stream"] = True
        if call.deployment.stream_usage and call.endpoint in _WITH_STREAM_OPTIONS:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    else:
        body.pop("stream", None)
        body.pop("stream_options", None)
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, a lone surrogate
        raise ProviderError("invalid_request", "the body cannot be sent as JSON", retryable=False) from None


class _Clock:
    """The limits of one call: each phase has its own, and the attempt's deadline stands behind them all."""

    def __init__(self, call: Call) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._deadline = self._loop.time() + call.timeout_s
        self._whole = False
        self.limit: asyncio.Timeout
        self.phase = "first_byte"

    def enter(self, phase: str, seconds: float) -> None:
        """From now on, `seconds` are allowed until the next call of this, but never more than the attempt has left."""
        self.phase = phase
        when = self._loop.time() + seconds
        self._whole = when >= self._deadline
        self.limit.reschedule(min(when, self._deadline))

    async def watch(self, stream: AsyncIterator[bytes] | httpx.AsyncByteStream) -> AsyncIterator[bytes]:
        """The chunks of a body; the wait for each has `read_timeout_s`."""
        async for chunk in stream:
            yield chunk
            self.enter("read", self._call.deployment.read_timeout_s)

    def error(self) -> ProviderError:
        """What to say when the limit passed."""
        if self._whole:
            message = f"the attempt's limit of {self._call.timeout_s:g} s passed"
            return ProviderError("timeout", message, retryable=True)
        deployment = self._call.deployment
        if self.phase == "read":
            message = f"the upstream sent nothing for {deployment.read_timeout_s:g} s in the middle of its reply"
        else:
            message = f"the upstream did not begin to answer within {deployment.first_byte_timeout_s:g} s"
        return ProviderError("upstream_timeout", message, retryable=True)


class _Pace:
    """Measures one call: first token, gaps, rate."""

    def __init__(self, started: float, trace: ConnectTrace) -> None:
        self._started = started
        self._trace = trace
        self._first: float | None = None
        self._last = started

    def token(self) -> None:
        """A piece of the answer has just arrived."""
        self._last = perf_counter()
        if self._first is None:
            self._first = self._last

    def streamed(self, tokens: int) -> UpstreamTiming:
        """Timing of a stream of `tokens` tokens, which has ended now."""
        timing = UpstreamTiming(self._trace.connect_ms, upstream_ms=(perf_counter() - self._started) * 1000)
        if self._first is not None:
            timing.ttft_ms = (self._first - self._started) * 1000
            span = self._last - self._first
            if tokens > 1 and span > 0:
                timing.itl_ms = span * 1000 / (tokens - 1)
                timing.tokens_per_s = (tokens - 1) / span
        return timing

    def whole(self, usage: Usage | None) -> UpstreamTiming:
        """Timing of an answer that came in one piece."""
        seconds = perf_counter() - self._started
        timing = UpstreamTiming(self._trace.connect_ms, upstream_ms=seconds * 1000)
        if usage is not None and usage.output_tokens and seconds > 0:
            timing.tokens_per_s = usage.output_tokens / seconds
        return timing


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
    call: Call,
    chunks: AsyncIterator[bytes],
    decode: Callable[[bytes], bytes],
    secret: str | None,
    pace: _Pace,
    on_delta: OnDelta | None,
) -> Reply:
    """Follow a stream to its end and put its answer together."""
    limit = call.deployment.max_reply_bytes
    lines = reading.EventLines(limit)
    assembler = assembly.assembler_for(call.endpoint, limit, secret)
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
    if not ended:
        ended = any(take(data) for data in lines.end())
    body = shape.checked(call.endpoint, call.body, assembler.body(ended=ended), secret)
    usage = shape.usage_of(body)
    tokens = usage.output_tokens if usage is not None and usage.output_tokens else assembler.tokens
    return Reply(body, usage, pace.streamed(tokens))
