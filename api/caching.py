"""Answering a job from the cache before it queues."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from api.new_job import fresh_row
from api.problems import Problem
from api.routing import Call
from api.schemas.job_request import JobRequest
from core.cache import NearHit, Planned, hit_of, plan_beside
from core.store.accept import NewJob
from core.store.cached import Hit
from core.telemetry.metrics import CACHE_JOBS
from policies.cache_keys import last_user_text
from policies.cache_policy import CacheRules


def cache_options(request: JobRequest) -> dict[str, Any] | None:
    """Return the request's `cache` as it was given; None when it has none."""
    return None if request.cache is None else request.cache.model_dump(exclude_none=True)


def rules_of(call: Call, job: NewJob) -> CacheRules:
    """Return what the caller's key, and the model that the job goes to, say of caches where the job does not."""
    return call.key.cache.over(call.services.catalog.policy(job.route_model or job.model).cache)


async def answered(
    call: Call, job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None, began: float
) -> Hit | None:
    """Plan what caches do for a job, look its answer up, and return the hit to store in its place; None when there is none.

    A job for later is not looked up now: its answer may be there, or be gone, by then, and the worker looks.

    Args:
        call: the request.
        job: not stored yet; it is told its plan.
        body: its request.
        options: its `cache` as it was given.
        began: when the request came in, on the monotonic clock.

    Raises:
        Problem: 409 `cache_miss` when nothing but an entry was wanted and there is none.
    """
    cache = call.services.cache
    found = await plan_beside(job, body, options, rules_of(call, job))
    if not found.plan.look or job.run_at is not None:
        if found.plan.only and not found.key:
            raise Problem("cache_miss")
        return None
    entry = await cache.answer(job.tenant_id, found.key, job.endpoint, job.body)
    if entry is not None:
        return hit_of(job, entry, (time.monotonic() - began) * 1000)
    if found.plan.semantic == "on" and (near := await _near(call, job, body, found)) is not None:
        return hit_of(job, near.entry, (time.monotonic() - began) * 1000, near.similarity)
    # Only a worker can ask a model of the catalog which questions are near.
    if found.plan.only and not (found.plan.semantic == "on" and call.services.catalog.embedder is not None):
        raise Problem("cache_miss")
    if found.plan.semantic == "on" and call.services.catalog.embedder is None:
        replace(found, looked=True).tell(job, options)
    return None


async def _near(call: Call, job: NewJob, body: Mapping[str, Any], found: Planned) -> NearHit | None:
    services = call.services
    question = last_user_text(job.endpoint, body)
    if services.catalog.embedder is not None or question is None:
        return None
    return await services.semantic.find(job.tenant_id, found, question, services.embedder)


def hit_row(hit: Hit, created_at: datetime) -> Mapping[str, Any]:
    """Return the row that a hit stored at `created_at` has, without reading it back; count the hit."""
    CACHE_JOBS.labels(orjson.loads(hit.cache)["status"]).inc()
    return {
        **fresh_row(hit, created_at),
        "status": "succeeded",
        "run_at": created_at,
        "expires_at": hit.expires_at or created_at + timedelta(seconds=hit.ttl_s),
        "finished_at": created_at,
        "result": hit.result,
        "usage": hit.usage,
        "cost_usd": Decimal(0),
        "cache": hit.cache,
        "timing": hit.timing,
    }


def cache_header(row: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the header that says what caches did for the job of a row."""
    status = orjson.loads(row["cache"])["status"] if row["cache"] else "bypass"
    return (b"x-coatcheck-cache", status.encode())
