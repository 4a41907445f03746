"""Answering a job from the cache before it queues."""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from api.new_job import fresh_row
from api.problems import Problem
from api.schemas.job_request import JobRequest
from core.cache import Cache, hit_of, plan_job
from core.store.accept import NewJob
from core.store.cached import Hit
from core.telemetry.metrics import CACHE_JOBS


def cache_options(request: JobRequest) -> dict[str, Any] | None:
    """Return the request's `cache` as it was given; None when it has none."""
    return None if request.cache is None else request.cache.model_dump(exclude_none=True)


async def answered(
    cache: Cache, job: NewJob, body: Mapping[str, Any], options: Mapping[str, Any] | None, began: float
) -> Hit | None:
    """Plan what caches do for a job, look its answer up, and return the hit to store in its place; None when there is none.

    A job for later is not looked up now: its answer may be there, or be gone, by then, and the worker looks.

    Args:
        cache: where to look.
        job: not stored yet; it is told its plan.
        body: its request.
        options: its `cache` as it was given.
        began: when the request came in, on the monotonic clock.

    Raises:
        Problem: 409 `cache_miss` when nothing but an entry was wanted and there is none.
    """
    found = plan_job(job, body, options)
    if not found.plan.look or job.run_at is not None:
        if found.plan.only and not found.key:
            raise Problem("cache_miss")
        return None
    entry = await cache.get(job.tenant_id, found.key)
    if entry is not None:
        return hit_of(job, entry, (time.monotonic() - began) * 1000)
    if found.plan.only:
        raise Problem("cache_miss")
    return None


def hit_row(hit: Hit, created_at: datetime) -> Mapping[str, Any]:
    """Return the row that a hit stored at `created_at` has, without reading it back; count the hit."""
    CACHE_JOBS.labels("hit").inc()
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
