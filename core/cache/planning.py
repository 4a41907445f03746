"""What a job asks of caches, decided once, when it is made, and told to the worker in its ``cache_options``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from core.store.accept import NewJob
from core.store.entering import FLIGHT
from policies.cache_keys import exact_key
from policies.cache_policy import NO_CACHE, CachePlan, cache_plan


@dataclass(frozen=True, slots=True)
class Planned:
    """A job's plan and the key of its answer; no key where caches are passed by."""

    plan: CachePlan = NO_CACHE
    key: bytes = b""

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Self:
        """Return what `plan_job` wrote into a job's `cache_options`."""
        told = (options or {}).get("plan")
        if not isinstance(told, dict):
            return cls()
        return cls(CachePlan(told["look"], told["keep"], told["only"], told["ttl_s"]), bytes.fromhex(told["key"]))


def planned(job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None) -> Planned:
    """Return what caches are to do for a job, and its key. Changes nothing."""
    plan = cache_plan(options, job.endpoint, body)
    if not (plan.look or plan.keep):
        return Planned(plan)
    return Planned(plan, exact_key(tenant=job.tenant_id, endpoint=job.endpoint, model=job.model, body=body))


def plan_job(job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None) -> Planned:
    """Decide what caches are to do for a job, and write it down in the job.

    A job that may share its upstream call gets a concurrency key with a limit of 1, made of its cache key and lane: identical
    jobs wait behind the first, and when it succeeds its commit ends them too (`cache_coalesce.sql`). It is a lane's own key, so
    that an urgent job never waits behind a bulk one. A job with a concurrency key of its own keeps that, and shares nothing.

    Args:
        job: not stored yet.
        body: its request.
        options: the job's `cache` as it was given; None when it has none.
    """
    found = planned(job, body, options)
    plan = found.plan
    if not found.key:
        job.cache_options = None if options is None else orjson.dumps(options).decode()
        return found
    told = {"look": plan.look, "keep": plan.keep, "only": plan.only, "ttl_s": plan.ttl_s, "key": found.key.hex()}
    job.cache_options = orjson.dumps({**(options or {}), "plan": told}).decode()
    if plan.shares and job.concurrency_key is None:
        job.concurrency_key, job.concurrency_limit = f"{FLIGHT}{job.lane} {found.key.hex()}", 1
    return found
