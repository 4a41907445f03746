"""From a checked request to the row that is stored, and to the answer that tells of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from api.auto import route as choose
from api.problems import invalid
from api.routing import Call
from api.schemas.job_request import DEFAULT_TTL, JobRequest
from api.screening import screened
from core import ids
from core.auto import as_route
from core.render import render_job
from core.store.accept import NewJob
from policies.addresses import Openings, UrlRefused, check_url


def _webhook(request: JobRequest, openings: Openings) -> str | None:
    if request.webhook is None:
        return None
    try:
        check_url(request.webhook.url, openings)
    except UrlRefused as error:
        raise invalid("/webhook/url", f"The URL is refused: {error}.", code="webhook_url_refused") from None
    told: dict[str, Any] = {"url": request.webhook.url}
    if request.webhook.events is not None:
        told["events"] = request.webhook.events
    return orjson.dumps(told).decode()


def _routed(call: Call, request: JobRequest) -> tuple[str | None, dict[str, Any]]:
    """Return the model whose queue the job joins, where that is not the one asked for, and what its route tells already."""
    services, catalog = call.services, call.services.catalog
    rules = screened(
        catalog.screening.mode, request.endpoint, request.body, services.screens, request_id=call.head.request_id
    )
    route: dict[str, Any] = {"screening": rules} if rules else {}
    asked = request.body["model"]
    decision = choose(request.endpoint, request.body, catalog, services.ttft_s)
    if decision is not None:
        return decision.model, as_route(decision) | route
    model = catalog.resolve(asked)
    return None if model == asked else model, route


def new_job(call: Call, request: JobRequest, group: UUID | None = None) -> NewJob:
    """Return the job to store.

    Raises:
        Problem: 422 for impossible times, a webhook URL that must not be called, a prompt that is screened out, or a request
            that no model fits.
    """
    run_at, expires_at = request.times(datetime.now(UTC))
    body = request.body
    route_model, route = _routed(call, request)
    return NewJob(
        id=ids.new_id(),
        tenant_id=call.key.tenant_id,
        endpoint=request.endpoint,
        model=body["model"],
        body=orjson.dumps(body).decode(),
        stream=body.get("stream") is True,
        lane=request.lane,
        priority=request.priority,
        metadata=orjson.dumps(request.metadata).decode() if request.metadata else "{}",
        webhook=_webhook(request, call.services.openings),
        group_id=group,
        max_attempts=request.max_attempts,
        timeout_s=float(request.timeout_s),
        ttl_s=float(request.expires_in_s or DEFAULT_TTL.total_seconds()),
        run_at=run_at,
        expires_at=expires_at,
        request_id=call.head.request_id,
        traceparent=call.head.traceparent,
        route_model=route_model,
        route=orjson.dumps(route).decode() if route else None,
        key_id=call.key.id,
        concurrency_key=request.concurrency_key,
        concurrency_limit=request.concurrency_limit,
    )


_FRESH: dict[str, Any] = dict.fromkeys(
    ("started_at", "finished_at", "result", "error", "usage", "cost_usd", "cache", "timing", "schedule_id")
)


def fresh_row(job: NewJob, created_at: datetime) -> Mapping[str, Any]:
    """Return the row that a job accepted at `created_at` has, without reading it back."""
    return {
        **_FRESH,
        "id": job.id,
        "status": "queued",
        "endpoint": job.endpoint,
        "model": job.model,
        "route": job.route,
        "lane": job.lane,
        "priority": job.priority,
        "created_at": created_at,
        "run_at": job.run_at or created_at,
        "expires_at": job.expires_at or created_at + timedelta(seconds=job.ttl_s),
        "attempts": 0,
        "max_attempts": job.max_attempts,
        "group_id": job.group_id,
        "metadata": job.metadata,
        "version": 1,
    }


def rendered(row: Mapping[str, Any], public_url: str, queue_position: int | None = None) -> bytes:
    """Return the Job as JSON; only whoever reads it by its id is told its place."""
    return orjson.dumps(render_job(row, public_url, queue_position))
