"""From a run's plan to its jobs: template × matrix, one request for every combination; or what a learned run chose. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self
from uuid import UUID

import orjson

from core import auto, ids
from core.cache import plan_job
from core.store.accept import NewJob
from core.store.schedule_runs import Run
from policies.cache_keys import exact_key
from policies.catalog import Catalog, Deployment
from policies.giving_way import prewarm_lane
from policies.schedules import LEARNED, PREWARM, Budget, Matrix, combination, fill

_DAY_S: Final = 86_400.0
#: Fields of a job request that go into the row as they are; what is left out has the default of every job.
_PLAIN: Final = ("priority", "max_attempts", "concurrency_key", "concurrency_limit")


@dataclass(frozen=True, slots=True)
class Chosen:
    """An entry that a learned run chose: the job that asked for it, and what its call is expected to take."""

    job_id: UUID
    tokens: int
    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Learned:
    """How a learned run chooses, and what it chose.

    Attributes:
        timezone: whose hours habits go by.
        next_run_at: when the schedule fires next.
        chosen: the entries, most valuable first; None as long as nobody has chosen.
    """

    timezone: str
    next_run_at: datetime
    chosen: Sequence[Chosen] | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Return what stands in a run's plan."""
        chosen = told.get("chosen")
        if chosen is not None:
            chosen = [Chosen(UUID(job), tokens, None if usd is None else Decimal(usd)) for job, tokens, usd in chosen]
        return cls(told["timezone"], datetime.fromisoformat(told["next_run_at"]), chosen)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run expands. A learned one has no matrix, and its template tells which asks it looks at."""

    template: Mapping[str, Any]
    matrix: Matrix | None
    budget: Budget
    ttl_s: float | None
    fresh_for_s: float
    learned: Learned | None = None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the plan of a run that makes jobs."""
        told = orjson.loads(run.plan or "{}")
        budget = told["budget"] or {}
        cost = budget.get("max_cost_usd")
        learned = told["matrix"] == LEARNED
        return cls(
            told["template"],
            None if learned else told["matrix"],
            Budget(budget.get("max_jobs"), budget.get("max_tokens"), None if cost is None else float(cost)),
            told["ttl_s"],
            told["fresh_for_s"],
            Learned.of(told) if learned else None,
        )

    def request(self, index: int) -> dict[str, Any]:
        """Return the job request for combination number `index`."""
        filled: dict[str, Any] = fill(self.template, combination(self.matrix, index))
        return filled


def key_of(run: Run, request: Mapping[str, Any]) -> bytes:
    """Return the key under which the live request finds what this one leaves in the cache."""
    body = request["body"]
    return exact_key(tenant=run.tenant_id, endpoint=request["endpoint"], model=body["model"], body=body)


def routed(
    request: Mapping[str, Any], catalog: Catalog, ttft_s: Mapping[str, float] | None = None
) -> tuple[str, dict[str, Any] | None]:
    """Return the model whose queue a request joins, and what its route tells already: as for one that is handed in.

    Raises:
        policies.auto.AutoError: when it asks for `auto` and no model fits.
    """
    body = request["body"]
    decision = auto.route(request["endpoint"], body, catalog, ttft_s)
    if decision is not None:
        return decision.model, auto.as_route(decision)
    return catalog.resolve(body["model"]), None


def job_of(
    run: Run, plan: Plan, request: Mapping[str, Any], catalog: Catalog, ttft_s: Mapping[str, float] | None = None
) -> NewJob:
    """Return the job for a request of a run; raises as `routed` does."""
    body = request["body"]
    model, route = routed(request, catalog, ttft_s)
    given = _given({name: request.get(name) for name in _PLAIN})
    metadata, webhook = request.get("metadata"), request.get("webhook")
    job = NewJob(
        id=ids.new_id(),
        tenant_id=run.tenant_id,
        key_id=run.key_id,
        endpoint=request["endpoint"],
        model=body["model"],
        route_model=None if model == body["model"] else model,
        route=None if route is None else orjson.dumps(route).decode(),
        body=orjson.dumps(body).decode(),
        stream=body.get("stream") is True,
        lane=_lane(run, request, catalog.deployments_for(model)),
        metadata=orjson.dumps(metadata).decode() if metadata else "{}",
        webhook=None if webhook is None else orjson.dumps(_given(webhook)).decode(),
        group_id=run.id,
        schedule_id=run.schedule_id,
        timeout_s=float(request.get("timeout_s") or 600),
        ttl_s=float(request.get("expires_in_s") or _DAY_S),
        **given,
    )
    # A key's settings are for what it hands in itself; runs go by the template and the model.
    plan_job(job, body, _cache_options(run, plan, request), catalog.policy(model).cache)
    return job


def _lane(run: Run, request: Mapping[str, Any], deployments: Sequence[Deployment]) -> str:
    asked: str | None = request.get("lane")
    if run.kind != PREWARM:
        return asked or "default"
    return prewarm_lane(asked, deployments, request["endpoint"], stream=request["body"].get("stream") is True)


def _cache_options(run: Run, plan: Plan, request: Mapping[str, Any]) -> dict[str, Any] | None:
    options = _given(request.get("cache") or {})
    if run.kind == PREWARM:
        # An entry that is there is not fresh enough: it must not be the answer.
        options["mode"] = "refresh"
        if plan.ttl_s is not None:
            options["ttl_s"] = plan.ttl_s
    return options or None


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
