"""Accepting jobs: what a checked request is, and the statements that store it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import tenant_list
from core.store.entering import let_in
from core.store.statements import statement

_SLICE: Final = 500


@dataclass(slots=True)
class NewJob:
    """A checked job request, ready to be stored. ``body``, ``metadata``, ``webhook`` and ``cache_options`` are JSON text.

    ``run_at`` None means now; ``expires_at`` None means ``ttl_s`` seconds after acceptance. ``route_model`` is the model whose
    queue it joins where that is not ``model``, and ``route`` says why, as JSON text. ``concurrency_key`` and
    ``concurrency_limit`` come together.
    """

    id: UUID
    tenant_id: UUID
    endpoint: str
    model: str
    body: str
    stream: bool = False
    lane: str = "default"
    priority: int = 5
    metadata: str = "{}"
    webhook: str | None = None
    cache_options: str | None = None
    group_id: UUID | None = None
    schedule_id: UUID | None = None
    max_attempts: int = 5
    timeout_s: float = 600.0
    ttl_s: float = 86_400.0
    run_at: datetime | None = None
    expires_at: datetime | None = None
    request_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    route_model: str | None = None
    route: str | None = None
    key_id: UUID | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None


@dataclass(slots=True, frozen=True)
class Accepted:
    """What became of a job request.

    Attributes:
        created_at: when it was stored; None for a replay.
        original: the id of the object that the idempotency key stands for, when the request was a replay.
        conflict: the key stands for a request with another payload; nothing was stored.
    """

    created_at: datetime | None = None
    original: UUID | None = None
    conflict: bool = False


_COLUMNS: Final = (
    "id", "tenant_id", "endpoint", "model", "lane", "priority", "body", "stream", "metadata", "webhook", "cache_options",
    "group_id", "schedule_id", "max_attempts", "timeout_s", "ttl_s", "run_at", "expires_at", "request_id", "traceparent",
    "route_model", "route", "key_id", "concurrency_key", "concurrency_limit",
)  # fmt: skip


def accepting(jobs: Sequence[NewJob], tenants: Iterable[UUID] | None = None, *, later: bool = False) -> dict[str, Any]:
    """Return the parameters of ``accept.sql``.

    Args:
        jobs: what to accept, sorted by id.
        tenants: those whose rows may be written, by default those of the jobs.
        later: the jobs enter the queue at the end of the transaction.
    """
    columns: dict[str, Any] = {name: [getattr(job, name) for job in jobs] for name in _COLUMNS}
    columns["tenants"] = tenant_list(tenants if tenants is not None else (job.tenant_id for job in jobs))
    columns["later"] = later
    return columns


async def insert_jobs(connection: AsyncConnection, jobs: Sequence[NewJob]) -> datetime:
    """Store ``jobs``, sorted by id, and queue them, as the last thing in a transaction; return their ``created_at``."""
    created_at: datetime
    if len(jobs) <= _SLICE and not any(job.concurrency_key is not None for job in jobs):
        created_at = (await connection.execute(statement("accept"), accepting(jobs))).scalar_one()
        return created_at
    # All enter at the end, together: nobody else waits for the tenant's turns while thousands of rows are written.
    tenants = {job.tenant_id for job in jobs}
    for start in range(0, len(jobs), _SLICE):
        parameters = accepting(jobs[start : start + _SLICE], tenants, later=True)
        created_at = (await connection.execute(statement("accept"), parameters)).scalar_one()
    await let_in(connection, [job for job in jobs if job.run_at is None or job.run_at <= created_at])
    return created_at


async def take_keys(connection: AsyncConnection, jobs: Sequence[NewJob]) -> dict[UUID, Accepted]:
    """Take the idempotency keys of ``jobs``; return the outcome of those whose key was taken before, by job id."""
    keyed = sorted(
        (job for job in jobs if job.idempotency_key is not None), key=lambda job: (job.tenant_id, job.idempotency_key)
    )
    first: dict[tuple[UUID, str], NewJob] = {}
    for job in keyed:
        first.setdefault((job.tenant_id, job.idempotency_key or ""), job)
    if not first:
        return {}
    arrays = {
        "tenant_id": [tenant for tenant, _ in first],
        "key": [key for _, key in first],
        "fingerprint": [job.fingerprint for job in first.values()],
        "object_id": [job.id for job in first.values()],
    }
    taken = {(row.tenant_id, row.key) for row in await connection.execute(statement("take_keys"), arrays)}
    others = [job for job in keyed if (job.tenant_id, job.idempotency_key) not in taken or first[_key(job)] is not job]
    if not others:
        return {}
    rows = await connection.execute(
        statement("read_keys"),
        {"tenant_id": [job.tenant_id for job in others], "key": [job.idempotency_key for job in others]},
    )
    known = {(row.tenant_id, row.key): row for row in rows}
    outcomes = {}
    for job in others:
        row = known[_key(job)]
        same = row.fingerprint == job.fingerprint
        outcomes[job.id] = Accepted(original=row.object_id) if same else Accepted(conflict=True)
    return outcomes


def _key(job: NewJob) -> tuple[UUID, str]:
    return job.tenant_id, job.idempotency_key or ""
