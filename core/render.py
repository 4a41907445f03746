"""How a job, a group and an attempt look to the outside: one renderer for answers, streams and webhooks."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from core import ids

JOB_COLUMNS: Final = (
    "id, tenant_id, status, endpoint, model, lane, priority, created_at, run_at, started_at, finished_at, expires_at, attempts, "
    "max_attempts, result, error, usage, cost_usd, route, cache, timing, group_id, schedule_id, metadata, version, event_seq, "
    "webhook, stream, traceparent"
)
#: Why a run of a schedule did not take place, or stopped before its last job.
RUN_REASONS: Final = {
    "overlap": "Skipped: the run before it was still going on.",
    "missed": "Skipped: nobody looked at that time nor within an hour after it.",
    "max_jobs": "Stopped by the budget: max_jobs were submitted.",
    "max_tokens": "Stopped by the budget: max_tokens were used.",
    "max_cost_usd": "Stopped by the budget: max_cost_usd was spent.",
    "cancelled": "Stopped: its group was cancelled.",
    "refused": "Stopped: its jobs could not be made from the template any more.",
    "not_kept": "Some answers were not kept by the cache: their jobs say `kept: false` in `cache`.",
    "nothing_likely": "Nothing that needs warming is likely enough to be asked for before the next run.",
    "too_many_asks": "Stopped: what was asked for could not be read in time; with a shorter ttl_s fewer hours are looked at.",
}
_BYPASS: Final = {"status": "bypass", "similarity": None, "age_s": None}
TIMING: Final = (
    "queued_ms", "batch_size", "connect_ms", "ttft_ms", "itl_ms", "tokens_per_s", "upstream_ms", "overhead_ms", "total_ms",
)  # fmt: skip
_NO_TIMING: Final = orjson.Fragment(orjson.dumps(dict.fromkeys(TIMING)))


def moment(value: datetime | None) -> str | None:
    """Return ``value`` as ISO 8601 in UTC with milliseconds and ``Z``."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _json(raw: str | None) -> orjson.Fragment | None:
    """Pass JSON text from the database through without parsing it."""
    return None if raw is None else orjson.Fragment(raw)


def render_job(row: Mapping[Any, Any], public_url: str, queue_position: int | None = None) -> dict[str, Any]:
    """Return the Job of ``api.md`` for a row with ``JOB_COLUMNS``.

    The dict holds ``orjson.Fragment`` values, so it is for ``orjson.dumps`` only.
    """
    name = ids.encode(ids.JOB, row["id"])
    url = f"{public_url}/v1/jobs/{name}"
    group: UUID | None = row["group_id"]
    schedule: UUID | None = row["schedule_id"]
    cost = row["cost_usd"]
    return {
        "id": name,
        "object": "job",
        "status": row["status"],
        "endpoint": row["endpoint"],
        "model": row["model"],
        "lane": row["lane"],
        "priority": row["priority"],
        "status_url": url,
        "events_url": url + "/events",
        "cancel_url": url + "/cancel",
        "created_at": moment(row["created_at"]),
        "run_at": moment(row["run_at"]),
        "started_at": moment(row["started_at"]),
        "finished_at": moment(row["finished_at"]),
        "expires_at": moment(row["expires_at"]),
        "attempts": row["attempts"],
        "max_attempts": row["max_attempts"],
        "queue_position": queue_position,
        "result": _json(row["result"]),
        "error": _json(row["error"]),
        "usage": _json(row["usage"]),
        "cost_usd": None if cost is None else format(cost, "f"),
        "route": _json(row["route"]),
        "cache": _json(row["cache"]) or _BYPASS,
        "timing": _json(row["timing"]) or _NO_TIMING,
        "group_id": None if group is None else ids.encode(ids.GROUP, group),
        "schedule_id": None if schedule is None else ids.encode(ids.SCHEDULE, schedule),
        "metadata": _json(row["metadata"]),
    }


def render_group(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the Group of ``api.md`` for a row of ``read_groups.sql``."""
    ended = "completed" if row["cancelled_at"] is None else "cancelled"
    cost = row["cost_usd"]
    return {
        "id": ids.encode(ids.GROUP, row["id"]),
        "object": "group",
        "status": "running" if row["finished_at"] is None else ended,
        "total": row["total"],
        "counts": _json(row["counts"]),
        "created_at": moment(row["created_at"]),
        "finished_at": moment(row["finished_at"]),
        "usage": _json(row["usage"]),
        "cost_usd": None if cost is None else format(cost, "f"),
        "unpriced_jobs": row["unpriced_jobs"],
    }


def render_run(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the run of a schedule for a row of ``schedule_read_runs.sql``, or ``schedule_end_runs.sql``: that has no choices."""
    cost = None if row["cost_usd"] is None else format(row["cost_usd"], "f")
    return {
        "id": ids.encode(ids.RUN, row["id"]),
        "object": "schedule_run",
        "schedule_id": ids.encode(ids.SCHEDULE, row["schedule_id"]),
        "group_id": ids.encode(ids.GROUP, row["id"]) if row["planned"] else None,
        "kind": row["kind"],
        "status": row["status"],
        "trigger": row["trigger"],
        "reason": row["reason"],
        "message": RUN_REASONS.get(row["reason"] or ""),
        "scheduled_for": moment(row["slot"]),
        "created_at": moment(row["created_at"]),
        "finished_at": moment(row["finished_at"]),
        "missed": row["missed"],
        "planned": row["planned"],
        "skipped_fresh": row["skipped_fresh"],
        "submitted": row["submitted"],
        "succeeded": row["succeeded"],
        "failed": row["failed"],
        "cancelled": row["cancelled"],
        "over_budget": row["over_budget"],
        "tokens": int(row["tokens"]),
        "cost": cost,
        "choices": _json(row.get("choices")),
    }


def render_attempt(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return one attempt of a job for a row of ``read_attempts.sql``; outcome and finished_at are null while it runs."""
    cost = row["cost_usd"]
    return {
        "object": "attempt",
        "number": row["number"],
        "deployment": row["deployment"],
        "started_at": moment(row["started_at"]),
        "ttft_ms": row["ttft_ms"],
        "finished_at": moment(row["finished_at"]),
        "outcome": row["outcome"],
        "error": _json(row["error"]),
        "batch_size": row["batch_size"],
        "usage": _json(row["usage"]),
        "cost_usd": None if cost is None else format(cost, "f"),
    }
