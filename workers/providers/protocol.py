"""What the engine and a provider of models agree on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from policies.catalog import Deployment
from workers.providers.limits import UpstreamLimits


@dataclass(frozen=True, slots=True)
class Call:
    """One upstream call. `body` is the caller's request as accepted; the provider never changes it."""

    deployment: Deployment
    endpoint: str
    body: dict[str, Any]
    stream: bool
    timeout_s: float
    headers: Mapping[str, str]
    """Sent along as they are: `traceparent`, `x-coatcheck-job-id`."""
    alone: bool = False
    """Share no upstream call with other jobs: a last attempt must not fail for somebody else's sake."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed answer.

    `text` is the plain content of choice 0 (may be empty). `choice` is the raw OpenAI `choices[i]` when it holds more than
    that: tool calls, reasoning, a refusal, a finish reason, log probabilities, or any other choice than the first. For
    `/v1/responses` it is the raw event.
    """

    text: str
    choice: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the upstream counted them. `reasoning_tokens` are part of the output, `cached_tokens` of the input."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    total_tokens: int
    reasoning_tokens: int = 0


@dataclass(slots=True)
class UpstreamTiming:
    """Milliseconds (and tokens per second) as far as they could be measured, else None.

    `connect_ms` is the name's resolution, TCP and TLS together, None when an open connection was taken. `ttft_ms` is the
    time to the first piece of the answer, `itl_ms` the mean time between two of its tokens, `tokens_per_s` the rate of a
    stream after its first token, or that of a whole answer over all its time.
    """

    connect_ms: float | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None
    tokens_per_s: float | None = None
    upstream_ms: float | None = None


@dataclass(slots=True)
class Reply:
    """A finished call: the whole, non-stream OpenAI body, also when it was streamed.

    `merged` jobs shared the upstream call; `usage` and `timing` are this job's, the usage as its estimated part of the whole.
    """

    body: dict[str, Any]
    usage: Usage | None
    timing: UpstreamTiming = field(default_factory=UpstreamTiming)
    limits: UpstreamLimits | None = None
    merged: int = 1


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What warming a deployment did.

    `connect_ms` is the cold-start cost that the next call is spared: the slowest new connection (a remote deployment), loading
    the model (a local one), None when all was warm already or nothing could be reached. `opened` counts new connections,
    `status` is what the upstream answered (401: its key is wrong), `error` says why it can't be reached.
    """

    connect_ms: float | None = None
    opened: int = 0
    status: int | None = None
    error: str | None = None


@dataclass(slots=True)
class ConnectionCounts:
    """How a deployment's calls got their connections since the process began; warming counts apart."""

    opened: int = 0
    reused: int = 0
    warmed: int = 0


class ProviderError(Exception):
    """A call that failed. `message` is safe to show to the caller.

    Codes: `upstream_error`, `upstream_timeout`, `upstream_unreachable`, `rate_limited`, `invalid_request`, `unauthorized`,
    `context_length_exceeded`, `content_refused`, `bad_reply`, `reply_too_large`, `timeout` (the attempt's own limit).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        limits: UpstreamLimits | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.upstream_status = upstream_status
        #: What the upstream's headers said of its limits, where there was an answer.
        self.limits = limits
        #: How many jobs shared the call and failed with it.
        self.merged = 1
        #: How long the call took until it failed, in milliseconds; None when there was none. Set by the engine.
        self.upstream_ms: float | None = None

    def told(self) -> dict[str, Any]:
        """Return the error as jobs and attempts show it."""
        return self._as(self.code, self.message)

    def gave_up(self, attempts: int) -> dict[str, Any]:
        """Return the error of a job whose last attempt, of so many, ended with this one although another might help."""
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return self._as("attempts_exhausted", f"Gave up after {tries}; the last one: {self.code}: {self.message}")

    def _as(self, code: str, message: str) -> dict[str, Any]:
        # Postgres keeps no NUL in jsonb, whatever an upstream put into its message.
        clean = message.replace("\x00", "").encode("utf-8", "replace").decode()
        return {"code": code, "message": clean, "retryable": self.retryable, "upstream_status": self.upstream_status}

    def __repr__(self) -> str:
        return f"ProviderError({self.code!r}, {self.message!r}, retryable={self.retryable})"


class Provider(Protocol):
    """Runs calls. One instance a process, used from one event loop."""

    async def call(self, call: Call, on_delta: Callable[[Delta], None] | None) -> Reply:
        """Run one call within its `timeout_s`; `on_delta` gets each streamed piece. Raises ProviderError.

        Cancelling the task really ends the work upstream.
        """
        ...

    async def warm(self, deployment: Deployment) -> WarmReport:
        """Do now what the next call would wait for: resolve, connect, greet; or load the model. Cheap; never raises.

        To be called at the start and again after a quiet spell: kept connections are closed after 30 s without a call.
        """
        ...

    async def aclose(self) -> None:
        """Close connections; calls under way are cut off."""
        ...
