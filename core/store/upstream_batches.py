"""Batches of jobs in the hands of an upstream's Batch API: who works on them, what they hold, how far they are.

    collecting ──▶ filled ──▶ uploaded ──▶ submitted ──▶ ended ──▶ settled
         │            │           │            │            ▲
         └────────────┴───────────┴────────────┴────────────┘   no job left · refused · given up

=============  =====================================================================================================
collecting     opened by a worker, which claims jobs of the lane ``bulk`` for it
filled         holds its jobs, all of one endpoint
uploaded       their requests are a file at the upstream: ``file_id``
submitted      the upstream works on it: ``upstream_id``
ended          nothing more will come; ``outcome`` says how: completed, expired, cancelled, failed as the upstream put it, empty
               (no job was left), refused (the upstream took no batch), lost (it no longer knows the batch)
settled        every answer is stored, every other job is back in the queue, files are deleted
=============  =====================================================================================================

Two leases are involved. The *jobs'* leases name the batch instead of a worker process (``running.process_id``), and the batch
has a row in ``processes`` like one: so no worker's death takes its jobs from it, a cancelled job leaves it as it leaves a worker,
and its results are stored by the same guarded statements. The *batch* itself is leased by the worker that works on it, for a
minute at a time; every move is guarded by ``fence``, which each new holder raises.

A worker may die before, during or after each step. Whoever takes the batch over finds its state, and ``tries`` above 1 says that
the present step was begun before: then it looks for what the dead one may have left at the upstream (a file of the batch's name,
a batch with its id in the metadata) before it makes another. Results are read again from the start; those that are stored already
have lost their lease numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from core.direct import Row
from core.store.statements import fetch

NOBODY: Final = UUID(int=0)
_FIRST: Final = UUID(int=0)
_KEPT: Final = (
    "id", "deployment", "model", "endpoint", "state", "jobs", "file_id", "upstream_id", "output_file_id", "error_file_id",
    "outcome", "tries", "fence", "submitted_at",
)  # fmt: skip


class LeaseLost(Exception):
    """Another worker has the batch by now."""


@dataclass(frozen=True, slots=True)
class UpstreamBatch:
    """A batch as its worker holds it. ``error`` is the upstream's last word on a failed one."""

    id: UUID
    deployment: str
    model: str
    endpoint: str | None
    state: str
    jobs: int
    file_id: str | None
    upstream_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    outcome: str | None
    tries: int
    fence: int
    submitted_at: Any
    error: Mapping[str, Any] | None

    @classmethod
    def of(cls, row: Row) -> "UpstreamBatch":
        """The batch of a row of the table."""
        error = None if row.error is None else orjson.loads(row.error)
        return cls(**{name: getattr(row, name) for name in _KEPT}, error=error)


@dataclass(frozen=True, slots=True)
class Opening:
    """When a deployment gets a new batch; seconds and numbers of jobs and batches."""

    collect_s: float
    most: int
    open_most: int
    paused_s: float


class UpstreamBatchStore:
    """The table as one worker process uses it.

    Args:
        engine: connections with the worker's role.
        process_id: who we are.
        lease_s: how long a batch is held without renewal.
    """

    def __init__(self, engine: AsyncEngine, process_id: UUID, lease_s: float) -> None:
        self._engine = engine
        self._process_id = process_id
        self.lease_s = lease_s

    async def open(self, batch_id: UUID, deployment: str, model: str, when: Opening) -> UpstreamBatch | None:
        """Open and lease a batch for a deployment if it is time for one."""
        rows = await self._fetch(
            "open",
            id=batch_id,
            deployment=deployment,
            model=model,
            process_id=self._process_id,
            lease_s=self.lease_s,
            collect_s=when.collect_s,
            most=when.most,
            open_most=when.open_most,
            paused_s=when.paused_s,
        )
        return UpstreamBatch.of(rows[0]) if rows else None

    async def take(self) -> UpstreamBatch | None:
        """Lease the batch that has waited longest to be looked at."""
        rows = await self._fetch("take", process_id=self._process_id, lease_s=self.lease_s)
        return UpstreamBatch.of(rows[0]) if rows else None

    async def renew(self, batch: UpstreamBatch) -> None:
        """Go on holding a batch. Raises LeaseLost."""
        if not await self._fetch("renew", id=batch.id, fence=batch.fence, lease_s=self.lease_s):
            raise LeaseLost

    async def advance(self, batch: UpstreamBatch, state: str, **changes: Any) -> UpstreamBatch:
        """Move a batch on to ``state`` with what was learned; columns not named stay. Raises LeaseLost."""
        error = changes.pop("error", None)
        names = ("endpoint", "jobs", "file_id", "upstream_id", "output_file_id", "error_file_id", "outcome")
        values = dict.fromkeys(names) | changes | {"error": None if error is None else orjson.dumps(error).decode()}
        rows = await self._fetch("advance", id=batch.id, fence=batch.fence, state=state, **values)
        if not rows:
            raise LeaseLost
        return UpstreamBatch.of(rows[0])

    async def release(self, batch: UpstreamBatch, pause_s: float, *, counts: bool) -> None:
        """Let go of a batch for ``pause_s`` seconds; ``counts`` says that the try that is over counts."""
        await self._fetch("release", id=batch.id, fence=batch.fence, pause_s=pause_s, counts=counts)

    async def settle(self, batch: UpstreamBatch) -> bool:
        """Close a batch; tell whether it is closed. One that still holds jobs is not."""
        return bool(await self._fetch("settle", id=batch.id, fence=batch.fence))

    async def paused(self, paused_s: float) -> frozenset[str]:
        """Deployments whose upstream refused a batch within the last ``paused_s`` seconds."""
        return frozenset(row.deployment for row in await self._fetch("paused", paused_s=paused_s))

    async def jobs(self, batch: UpstreamBatch, *, after: UUID | None, most: int, with_body: bool) -> list[Row]:
        """A page of the jobs that a batch holds, by id, behind ``after``."""
        return await self._fetch("jobs", id=batch.id, after=after or _FIRST, most=most, with_body=with_body)

    async def some(self, batch: UpstreamBatch, leases: Sequence[tuple[UUID, int]]) -> list[Row]:
        """Those of the jobs named (with their lease numbers) that the batch still holds, with bodies."""
        ordered = sorted(leases)
        return await self._fetch(
            "some", id=batch.id, job_id=[job for job, _ in ordered], lease_no=[lease for _, lease in ordered]
        )

    async def part(self, batch: UpstreamBatch, part_id: UUID, endpoint: str, jobs: Sequence[UUID]) -> None:
        """Move some jobs into a batch of their own."""
        await self._fetch(
            "part", id=batch.id, fence=batch.fence, part_id=part_id, endpoint=endpoint, job_id=sorted(jobs)
        )

    async def adopt(self, batch: UpstreamBatch, jobs: Sequence[UUID], process_id: UUID | None = None) -> set[UUID]:
        """Take jobs out of a batch into this process's hands (or those of ``process_id``); return those that it got."""
        to = self._process_id if process_id is None else process_id
        return {row.job_id for row in await self._fetch("adopt", id=batch.id, process_id=to, job_id=sorted(jobs))}

    async def _fetch(self, name: str, **parameters: Any) -> list[Row]:
        return await fetch(self._engine, f"upstream_batch_{name}", parameters)
