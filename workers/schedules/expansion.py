"""From a run's plan to its jobs: template × matrix, one request for every combination. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from core import ids
from core.cache import plan_job
from core.store.accept import NewJob
from core.store.schedule_runs import Run
from policies.cache_keys import exact_key
from policies.catalog import Catalog
from policies.schedules import PREWARM, Budget, Matrix, combination, fill

_DAY_S: Final = 86_400.0
_PREWARM_LANE: Final = "prewarm"
#: Fields of a job request that go into the row as they are; what is left out has the default of every job.
_PLAIN: Final = ("priority", "max_attempts", "concurrency_key", "concurrency_limit")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run expands."""

    template: Mapping[str, Any]
    matrix: Matrix | None
    budget: Budget
    ttl_s: float | None
    fresh_for_s: float

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the plan of a run that makes jobs."""
        told = orjson.loads(run.plan or "{}")
        budget = told["budget"] or {}
        cost = budget.get("max_cost_usd")
        return cls(
            told["template"],
            told["matrix"],
            Budget(budget.get("max_jobs"), budget.get("max_tokens"), None if cost is None else float(cost)),
            told["ttl_s"],
            told["fresh_for_s"],
        )

    def request(self, index: int) -> dict[str, Any]:
        """Return the job request for combination number `index`."""
        filled: dict[str, Any] = fill(self.template, combination(self.matrix, index))
        return filled


def key_of(run: Run, request: Mapping[str, Any]) -> bytes:
    """Return the key under which the live request finds what this one leaves in the cache."""
    body = request["body"]
    return exact_key(tenant=run.tenant_id, endpoint=request["endpoint"], model=body["model"], body=body)


def job_of(run: Run, plan: Plan, request: Mapping[str, Any], catalog: Catalog) -> NewJob:
    """Return the job for a request of a run."""
    body = request["body"]
    model = catalog.resolve(body["model"])
    given = _given({name: request.get(name) for name in _PLAIN})
    metadata, webhook = request.get("metadata"), request.get("webhook")
    job = NewJob(
        id=ids.new_id(),
        tenant_id=run.tenant_id,
        key_id=run.key_id,
        endpoint=request["endpoint"],
        model=body["model"],
        route_model=None if model == body["model"] else model,
        body=orjson.dumps(body).decode(),
        stream=body.get("stream") is True,
        lane=_PREWARM_LANE if run.kind == PREWARM else request.get("lane") or "default",
        metadata=orjson.dumps(metadata).decode() if metadata else "{}",
        webhook=None if webhook is None else orjson.dumps(_given(webhook)).decode(),
        group_id=run.id,
        schedule_id=run.schedule_id,
        timeout_s=float(request.get("timeout_s") or 600),
        ttl_s=float(request.get("expires_in_s") or _DAY_S),
        **given,
    )
    plan_job(job, body, _cache_options(run, plan, request))
    return job


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
