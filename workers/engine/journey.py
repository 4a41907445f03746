"""The way of one attempt over deployments: choose, call, and where that fails go on elsewhere, until an answer or nowhere to go.

A job that ends up with no deployment at all has not been tried: it goes back to the queue without its attempt counting.
"""

import time
from collections.abc import Awaitable, Mapping
from typing import Final

from core.telemetry.metrics import FAILOVERS
from policies.costs import cost_usd
from policies.failover import Plan, classify
from policies.hedging import hedge_after_ms
from workers.engine.calls import Calls
from workers.engine.deltas import DeltaStream
from workers.engine.hedged_call import HedgedCall
from workers.engine.job import Job
from workers.engine.trail import Trail
from workers.providers.protocol import Provider, ProviderError, Reply
from workers.routing.choosing import Choice
from workers.routing.router import Router

# A model that this process does not know may be one that a newer catalog of another process does.
_UNKNOWN_MODEL_PAUSE_S: Final = 5.0
# Slots are counted when jobs are claimed, so waiting for one here is the exception; other processes may have some.
_WAIT_S: Final = 1.0
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

    Attributes:
        trail: what it met.
    """

    __slots__ = ("_calls", "_job", "_model", "_plan", "_router", "_stream", "trail")

    def __init__(self, job: Job, stream: DeltaStream, router: Router, providers: Mapping[str, Provider]) -> None:
        self._job = job
        self._stream = stream
        self._router = router
        self._model = job.model
        self._plan: Plan | None = None
        self.trail = Trail()
        self._calls = Calls(job, self.trail, router, providers)

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
        choice = router.choose(model, endpoint, prefix=self._calls.prefix)
        if choice is not None:
            return choice
        if not router.serves(model, endpoint):
            message = f"No deployment serves {model} on {endpoint}."
            raise ProviderError("unknown_model", message, retryable=True, retry_after_s=_UNKNOWN_MODEL_PAUSE_S)
        deadline = time.monotonic() + _WAIT_S
        while not router.away(model, endpoint):
            left = deadline - time.monotonic()
            if left <= 0 or not await router.until_room(model, left):
                raise NowhereToGo("no_free_slot", router.pause_s(model))
            choice = router.choose(model, endpoint, prefix=self._calls.prefix)
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
        if kind is None or time.monotonic() >= self._calls.deadline:
            return None
        plan = self._planned()
        leg = plan.after(state.name, kind, self._has_room)
        if leg is None:
            return None
        choice = self._router.choose(leg.model, self._job.endpoint, only=leg.deployments, prefix=self._calls.prefix)
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

    def _call(self, choice: Choice) -> Awaitable[Reply]:
        """Begin the call; no coroutine of its own, because it lies on every job's way."""
        router, model, stream = self._router, self._model, self._job.stream
        on_delta = self._stream.add if stream else None
        budget = router.budget(model) if router.policy(model).hedge else None
        if budget is not None:
            budget.call()
            record = choice.state.record
            after_ms = hedge_after_ms(record.ttft_p95 if stream else record.total_p95, record.samples(stream=stream))
            if after_ms is not None:
                hedged = HedgedCall(
                    self._job, choice, after_ms, model=model, budget=budget, plan=self._planned, router=router,
                    calls=self._calls, trail=self.trail,
                )  # fmt: skip
                return hedged.run(on_delta)
        return self._calls.make(choice.state, on_delta)


def _refuses(reply: Reply) -> bool:
    """Whether the answer is a refusal: a success to the upstream, and of no use to the caller."""
    choices = reply.body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and first.get("finish_reason") == "content_filter"
