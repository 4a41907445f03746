"""A claimed job, as the engine carries it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import orjson

from core.direct import Row


@dataclass(slots=True)
class Job:
    """What an attempt needs to know.

    Attributes:
        key_id: the API key that handed it in, whose limits it counts against.
        model: the one whose queue it stood in; the caller may have asked for another name.
        route: what was decided when it was accepted, if anything was.
        cache_options: what caches are to do for it, if anything.
        schedule_id: the schedule that made it, if one did.
        metadata: its labels, told only where caches have something to do.
        body: JSON text.
        plain: nothing but the job's own row, events and attempts change when it ends.
        claimed_at: on this process's monotonic clock.
    """

    id: UUID
    tenant_id: UUID
    key_id: UUID | None
    endpoint: str
    model: str
    lane: str
    body: str
    stream: bool
    max_attempts: int
    attempt: int
    lease_no: int
    timeout_s: float
    created_at: datetime
    run_at: datetime
    started_at: datetime
    event_seq: int
    body_bytes: int
    batch_size: int
    plain: bool
    request_id: str | None
    traceparent: str | None
    route: Mapping[str, Any] | None = None
    cache_options: Mapping[str, Any] | None = None
    schedule_id: UUID | None = None
    metadata: Mapping[str, str] | None = None
    claimed_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, row: Row, batch_size: int) -> Self:
        """Return the job of a row of ``claim.sql``, claimed together with ``batch_size`` - 1 others."""
        return cls(
            id=row.id,
            tenant_id=row.tenant_id,
            key_id=row.key_id,
            endpoint=row.endpoint,
            model=row.route_model,
            lane=row.lane,
            body=row.body,
            stream=row.stream,
            max_attempts=row.max_attempts,
            attempt=row.attempts,
            lease_no=row.lease_no,
            timeout_s=row.timeout_s,
            created_at=row.created_at,
            run_at=row.run_at,
            started_at=row.started_at,
            event_seq=row.event_seq,
            body_bytes=row.body_bytes,
            batch_size=batch_size,
            plain=not row.tied,
            request_id=row.request_id,
            traceparent=row.traceparent,
            route=_told(row, "route"),
            cache_options=_told(row, "cache_options"),
            schedule_id=getattr(row, "schedule_id", None),
            metadata=_told(row, "metadata"),
        )

    @property
    def queued_ms(self) -> float:
        """Milliseconds from due to claimed, by the database's clock."""
        return (self.started_at - max(self.created_at, self.run_at)).total_seconds() * 1000

    @property
    def last(self) -> bool:
        """Whether this attempt is the last one."""
        return self.attempt >= self.max_attempts

    def running_ms(self) -> float:
        """Milliseconds since the claim, by this process's clock."""
        return (time.monotonic() - self.claimed_at) * 1000


def _told(row: Row, name: str) -> Mapping[str, Any] | None:
    text = getattr(row, name, None)
    return orjson.loads(text) if isinstance(text, str) else text
