"""What one call may take, and what it took: the limits of its phases, and the measures of its answer."""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import httpx

from workers.providers.protocol import Call, ProviderError, UpstreamTiming, Usage
from workers.providers.transport import ConnectTrace


class Clock:
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


class Pace:
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
        """Timing of a stream of `tokens` tokens, which has ended now.

        n tokens have n - 1 gaps between the first and the last, so the rate counts n - 1 of them; a stream that came in one
        piece has neither gaps nor a rate.
        """
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


def paced_tokens(usage: Usage | None, pieces: int, *, reasoned: bool) -> int:
    """How many tokens a stream brought between its first and its last piece.

    Reasoning that is billed but not shown was over before the first piece; counted in, it would make a model look many times
    as fast as it is.

    Args:
        usage: as the upstream counted.
        pieces: how many pieces came: the count where the upstream gave none.
        reasoned: whether pieces of reasoning were among them.
    """
    if usage is None or not usage.output_tokens:
        return pieces
    return usage.output_tokens if reasoned else max(usage.output_tokens - usage.reasoning_tokens, 0)
