"""The upstream calls of one attempt: what is sent, and the books of the deployments that it is sent to."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from core import ids
from core.telemetry.traces import child_traceparent
from policies.balancing import prefix_of
from policies.catalog import Deployment, Thrift
from policies.costs import cost_usd
from policies.thrift import Summary
from workers.engine.economy import economise
from workers.engine.job import Job
from workers.engine.trail import Trail
from workers.providers.protocol import Call, Delta, Provider, ProviderError, Reply
from workers.routing.booked import booked_call
from workers.routing.router import Router
from workers.routing.state import DeploymentState

# Guess of what a request costs beside its own text; the truth is settled with the answer.
_OUTPUT_TOKENS: Final = 256
BYTES_PER_TOKEN: Final = 4
_CHAT: Final = "/v1/chat/completions"
# A provider takes no time limit of nothing; one that is as good as over ends the call at once.
_LEAST_S: Final = 0.001


class Calls:
    """Makes the calls of one attempt.

    Args:
        job: whose attempt.
        trail: told what thrift did, and what summaries cost.
        router: told when a call has ended.
        providers: by the provider names of the catalog.

    Attributes:
        deadline: when the attempt's time is up, by ``time.monotonic``.
    """

    __slots__ = ("_body", "_called", "_job", "_providers", "_router", "_trail", "deadline")

    def __init__(self, job: Job, trail: Trail, router: Router, providers: Mapping[str, Provider]) -> None:
        self._job = job
        self._trail = trail
        self._router = router
        self._providers = providers
        self._body: dict[str, Any] | None = None
        self._called = False
        self.deadline = time.monotonic() + job.timeout_s

    def prefix(self) -> bytes | None:
        """Return the beginning that the job's request shares with others, for balancing; None where there is none."""
        if self._body is None:
            self._body = orjson.loads(self._job.body)
        return prefix_of(self._job.endpoint, self._body)

    async def make(self, state: DeploymentState, on_delta: Callable[[Delta], None] | None) -> Reply:
        """Send the job's request to a deployment and return its answer.

        Raises:
            ProviderError: what went wrong; ``upstream_ms`` tells how long it took.
        """
        job, deployment = self._job, state.deployment
        body = self._body
        if body is None:
            body = self._body = orjson.loads(job.body)
        if (thrift := self._router.policy(deployment.model).thrift) is not None:
            body = await self._thrifty(body, thrift, deployment)
        # What the first call waited for a slot is not taken from its time.
        left = self._left_s() if self._called else job.timeout_s
        self._called = True
        call = Call(deployment, job.endpoint, body, job.stream, max(left, _LEAST_S), _headers(job), job.last)
        tokens = _tokens(job, body) if state.part.metered else 0
        return await booked_call(self._router, self._providers, state, call, tokens, on_delta)

    async def _thrifty(self, body: dict[str, Any], thrift: Thrift, deployment: Deployment) -> dict[str, Any]:
        """Return what is sent instead; worked out once, for the first deployment that is called."""
        economy = self._trail.economy
        if economy is None:
            began = time.monotonic()
            economy = await economise(
                self._job.endpoint, body, len(self._job.body), thrift, deployment, self._summarise
            )
            self._trail.economy = economy
            self._trail.thrift_ms = (time.monotonic() - began) * 1000
        return economy.body

    async def _summarise(self, summary: Summary) -> str | None:
        """Have history summarised by a model of the catalog."""
        choice = self._router.choose(summary.model, _CHAT)
        if choice is None:
            return None
        state = choice.state
        body = {"model": summary.model, "messages": summary.messages, "max_tokens": summary.max_tokens}
        left = max(self._left_s(), _LEAST_S)
        call = Call(choice.deployment, _CHAT, body, stream=False, timeout_s=left, headers=_headers(self._job))
        tokens = _tokens(self._job, body) if state.part.metered else 0
        try:
            reply = await booked_call(self._router, self._providers, state, call, tokens)
        except ProviderError:
            return None
        if (cost := cost_usd(choice.deployment.price, reply.usage)) is not None:
            self._trail.costs.append(cost)
        return _text_of(reply)

    def _left_s(self) -> float:
        return self.deadline - time.monotonic()


def _text_of(reply: Reply) -> str | None:
    try:
        text = reply.body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) and text.strip() else None


def _headers(job: Job) -> dict[str, str]:
    headers = {"x-coatcheck-job-id": ids.encode(ids.JOB, job.id)}
    if job.traceparent:
        headers["traceparent"] = child_traceparent(job.traceparent)
    return headers


def _tokens(job: Job, body: Mapping[str, Any]) -> int:
    asked = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    return len(job.body) // BYTES_PER_TOKEN + (asked if isinstance(asked, int) else _OUTPUT_TOKENS)
