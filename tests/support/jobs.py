"""Claimed jobs that never saw a database."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from core import ids
from workers.engine.job import Job


def claimed_row(**changes: Any) -> Any:
    """A row as `claim.sql` returns it."""
    now = datetime.now(UTC)
    columns: dict[str, Any] = {
        "id": ids.new_id(), "tenant_id": ids.new_id(), "key_id": None, "endpoint": "/v1/chat/completions", "model": "sim/fast",
        "route_model": changes.get("model", "sim/fast"),
        "lane": "default", "body": '{"model":"sim/fast","messages":[]}', "stream": False, "tied": False, "max_attempts": 5,
        "attempts": 1, "lease_no": 1, "timeout_s": 60.0, "created_at": now, "run_at": now, "started_at": now, "event_seq": 2,
        "request_id": None, "traceparent": None, "body_bytes": 10,
    }  # fmt: skip
    return SimpleNamespace(**(columns | changes))


def claimed_job(**changes: Any) -> Job:
    """The same as the engine carries it."""
    return Job.of(claimed_row(**changes), 1)
