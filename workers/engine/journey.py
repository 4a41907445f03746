"""The way of one attempt over deployments: choose, call, and where that fails go on elsewhere, until an answer or nowhere to go.

A job that ends up with no deployment at all has not been tried: it goes back to the queue without its attempt counting.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from core import ids
from core.telemetry.metrics import FAILOVERS, HEDGES
from core.telemetry.traces import child_traceparent
from policies.balancing import prefix_of
from policies.catalog import Deployment, Thrift
from policies.costs import cost_usd, estimate
from policies.failover import Plan, classify
from policies.hedging import hedge_after_ms
from policies.thrift import Summary
from workers.engine.deltas import DeltaStream
from workers.engine.economy import economise
from workers.engine.job import Job
from workers.engine.race import Race
from workers.engine.trail import Trail
from workers.providers.protocol import Call, Delta, Provider, ProviderError, Reply
from workers.routing.router import Choice, Router
from workers.routing.state import DeploymentState

# A model that this process does not know may be one that a newer catalog of another process does.
_UNKNOWN_MODEL_PAUSE_S: Final = 5.0
# Slots are counted when jobs are claimed, so waiting for one here is the exception; other processes may have some.
_WAIT_S: Final = 1.0
# Guess of what a request costs beside its own text; the truth is settled with the answer.
_OUTPUT_TOKENS: Final = 256
_BYTES_PER_TOKEN: Final = 4
CHAT: Final = "/v1/chat/completions"
_REFUSED: Final = "content_refused"


class NowhereToGo(Exception):
    """No deployment could take the job, and none was tried: it should wait ``pause_s`` seconds in the queue."""

    def __init__(self, reason: str, pause_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause_s = pause_s


class Journey:
    """One attempt's way.

    Args:
        job: whose attempt.
        stream: takes deltas, and the resets between them.
        router: knows the deployments.
        providers: by the provider names of the catalog.
    """

    __slots__ = ("_body", "_deadline", "_job", "_model", "_plan", "_providers", "_router", "_stream", "trail")

    def __init__(self, job: Job, stream: DeltaStream, router: Router, providers: Mapping[str, Provider]) -> None:
        self._job = job
        self._stream = stream
        self._router = router
        self._providers = providers
        self._model = job.model
        self._plan: Plan | None = None
        self._body: dict[str, Any] | None = None
        self._deadline = time.monotonic() + job.timeout_s
        self.trail = Trail()

    async def run(self) -> Reply:
        """Return the answer.

        Raises:
            ProviderError: the last error, when there is nowhere left to go.
            NowhereToGo: when nothing was tried.
        """
        try:
            choice = await self._first()
        finally:
            self._router.arrived(self._job.model)
        while True:
            self.trail.choice = choice
            try:
                reply = await self._call(choice)
            except ProviderError as error:
                onward = self._onward(error)
                if onward is None:
                    raise
                self.trail.lost_ms += error.upstream_ms or 0.0
                self._stream.reset(error.code)
            else:
                onward = self._elsewhere(reply)
                if onward is None:
                    return reply
            choice = onward

    def _elsewhere(self, reply: Reply) -> Choice | None:
        """Return where to ask instead, when the answer is a refusal and the model's policy says who is asked then."""
        if "refused" not in self._router.policy(self._job.model).fallbacks or not _refuses(reply):
            return None
        onward = self._onward(ProviderError(_REFUSED, "The upstream refused to answer.", retryable=False))
        if onward is not None:
            self.trail.lost_ms += reply.timing.upstream_ms or 0.0
            self._stream.reset(_REFUSED)
            self._paid(reply)
        return onward

    def _paid(self, reply: Reply) -> None:
        """Book the price of an answer that is not used."""
        assert self.trail.choice is not None  # noqa: S101 - there was a call
        cost = cost_usd(self.trail.choice.deployment.price, reply.usage)
        if cost is not None:
            self.trail.costs.append(cost)

    # --- where to ---

    async def _first(self) -> Choice:
        router, model, endpoint = self._router, self._model, self._job.endpoint
        choice = router.choose(model, endpoint, prefix=self._prefix)
        if choice is not None:
            return choice
        if not router.serves(model, endpoint):
            message = f"No deployment serves {model} on {endpoint}."
            raise ProviderError("unknown_model", message, retryable=True, retry_after_s=_UNKNOWN_MODEL_PAUSE_S)
        deadline = time.monotonic() + _WAIT_S
        while not router.away(model):
            left = deadline - time.monotonic()
            if left <= 0 or not await router.until_room(model, left):
                raise NowhereToGo("no_free_slot", router.pause_s(model))
            choice = router.choose(model, endpoint, prefix=self._prefix)
            if choice is not None:
                return choice
        found = router.fallback(model, endpoint)
        if found is None:
            raise NowhereToGo("deployments_away", router.pause_s(model))
        self._model, choice = found
        return choice

    def _onward(self, error: ProviderError) -> Choice | None:
        """Return where to go after the last call ended with this error."""
        assert self.trail.choice is not None  # noqa: S101 - there was a call
        state = self.trail.choice.state
        kind = classify(error.code, error.upstream_status)
        if kind is None or time.monotonic() >= self._deadline:
            return None
        plan = self._planned()
        leg = plan.after(state.name, kind, self._has_room)
        if leg is None:
            return None
        choice = self._router.choose(leg.model, self._job.endpoint, only=leg.deployments, prefix=self._prefix)
        if choice is None:
            return None
        FAILOVERS.labels(state.name, error.code).inc()
        self.trail.fallbacks.append({"deployment": state.name, "code": error.code})
        self.trail.why = leg.reason
        self._model = leg.model
        plan.begin(choice.state.name, leg.model)
        return choice

    def _planned(self) -> Plan:
        plan = self._plan
        if plan is None:
            catalog, endpoint, job = self._router.catalog, self._job.endpoint, self._job
            plan = self._plan = Plan(
                job.model,
                self._router.policy(job.model).fallbacks,
                lambda model: [one for one in catalog.deployments_for(model) if one.serves(endpoint)],
            )
            assert self.trail.choice is not None  # noqa: S101 - there was a call
            plan.begin(self.trail.choice.state.name, self._model)
        return plan

    def _has_room(self, name: str) -> bool:
        state = self._router.states.get(name)
        return state is not None and self._router.has_room(state, self._job.endpoint)

    # --- the call ---

    async def _call(self, choice: Choice) -> Reply:
        policy = self._router.policy(self._model)
        budget = self._router.budget(self._model) if policy.hedge else None
        if budget is None:
            return await self._visit(choice.state, self._stream.add if self._job.stream else None)
        budget.call()
        record = choice.state.record
        stream = self._job.stream
        after_ms = hedge_after_ms(record.ttft_p95 if stream else record.total_p95, record.samples(stream=stream))
        if after_ms is None:
            return await self._visit(choice.state, self._stream.add if stream else None)
        race = Race(self._visit, self._stream.add if stream else None)
        try:
            reply = await race.run(choice.state, after_ms / 1000, lambda: self._second(choice, after_ms))
        except ProviderError:
            if race.failed is choice.state:
                self.trail.choice = choice
            failed = {
                name: error.code
                for name, error in race.errors.items()
                if race.failed is None or name != race.failed.name
            }
            self.trail.fallbacks += [{"deployment": name, "code": code} for name, code in failed.items()]
            raise
        self._tell_of(race, choice)
        return reply

    def _second(self, first: Choice, after_ms: float) -> DeploymentState | None:
        """Return where a second request goes, if one may be sent."""
        router, budget = self._router, self._router.budget(self._model)
        if budget is None or not budget.may_hedge():
            return None
        tried = set(self._planned().tried) | {first.state.name}
        others = [one.name for one in router.catalog.deployments_for(self._model) if one.name not in tried]
        choice = router.choose(self._model, self._job.endpoint, only=others) if others else None
        if choice is None:
            budget.give_back()
            return None
        self._planned().begin(choice.state.name, self._model)
        choice.state.record.hedges += 1
        self.trail.choice = Choice(
            choice.state, f"{first.state.name} took longer than its usual {after_ms:.0f} ms; {choice.reason}"
        )
        return choice.state

    def _tell_of(self, race: Race, first: Choice) -> None:
        if race.loser is None or race.winner is None:
            return
        second = self.trail.choice
        if race.winner is first.state:
            self.trail.choice = first
        elif second is not None:
            self.trail.choice = second
        HEDGES.labels(self._model, "lost" if race.winner is first.state else "won").inc()
        code = race.loser_error.code if race.loser_error is not None else "slower"
        self.trail.fallbacks.append({"deployment": race.loser.name, "code": code})
        price = race.loser.deployment.price
        if race.loser_reply is not None:
            # Both answered in the same moment: the second answer is thrown away and paid for.
            cost = cost_usd(price, race.loser_reply.usage)
        elif race.loser_error is None:
            # It was broken off, and nobody says what it had cost by then. Its input was read, so that much is booked.
            cost = estimate(price, len(self._job.body) // _BYTES_PER_TOKEN, 0)
        else:
            return
        if cost is not None:
            self.trail.costs.append(cost)

    async def _visit(self, state: DeploymentState, on_delta: Callable[[Delta], None] | None) -> Reply:
        """Make one call and keep the books of its deployment."""
        job, deployment = self._job, state.deployment
        body = self._body
        if body is None:
            body = self._body = orjson.loads(job.body)
        if (thrift := self._router.policy(self._model).thrift) is not None:
            body = await self._thrifty(body, thrift, deployment)
        left = job.timeout_s if self._plan is None else self._deadline - time.monotonic()
        call = Call(deployment, job.endpoint, body, job.stream, max(left, 0.001), _headers(job), job.last)
        visit = state.begin(job.endpoint, _tokens(job, body) if state.part.metered else 0)
        try:
            reply = await self._providers[deployment.provider].call(call, on_delta)
        except ProviderError as error:
            error.upstream_ms = (time.monotonic() - visit.began) * 1000
            visit.failed(error)
            raise
        else:
            visit.answered(reply.timing, reply.usage.total_tokens if reply.usage else None, reply.limits)
            return reply
        finally:
            visit.left()
            self._router.released(state)

    async def _thrifty(self, body: dict[str, Any], thrift: Thrift, deployment: Deployment) -> dict[str, Any]:
        """Return what is sent instead; worked out once, for the first deployment that is called."""
        economy = self.trail.economy
        if economy is None:
            began = time.monotonic()
            economy = await economise(
                self._job.endpoint, body, len(self._job.body), thrift, deployment, self._summarise
            )
            self.trail.economy = economy
            self.trail.thrift_ms = (time.monotonic() - began) * 1000
        return economy.body

    async def _summarise(self, summary: Summary) -> str | None:
        """Have history summarised by a model of the catalog."""
        choice = self._router.choose(summary.model, CHAT)
        if choice is None:
            return None
        state, job = choice.state, self._job
        body = {"model": summary.model, "messages": summary.messages, "max_tokens": summary.max_tokens}
        left = max(self._deadline - time.monotonic(), 0.001)
        call = Call(state.deployment, CHAT, body, stream=False, timeout_s=left, headers=_headers(job))
        visit = state.begin(CHAT, _tokens(job, body) if state.part.metered else 0)
        try:
            reply = await self._providers[state.deployment.provider].call(call, None)
        except ProviderError as error:
            error.upstream_ms = (time.monotonic() - visit.began) * 1000
            visit.failed(error)
            return None
        else:
            visit.answered(reply.timing, reply.usage.total_tokens if reply.usage else None, reply.limits)
            if (cost := cost_usd(state.deployment.price, reply.usage)) is not None:
                self.trail.costs.append(cost)
            return _text_of(reply)
        finally:
            visit.left()
            self._router.released(state)

    def _prefix(self) -> bytes | None:
        if self._body is None:
            self._body = orjson.loads(self._job.body)
        return prefix_of(self._job.endpoint, self._body)


def _refuses(reply: Reply) -> bool:
    """Whether the answer is a refusal: a success to the upstream, and of no use to the caller."""
    choices = reply.body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and first.get("finish_reason") == "content_filter"


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
    return len(job.body) // _BYTES_PER_TOKEN + (asked if isinstance(asked, int) else _OUTPUT_TOKENS)
