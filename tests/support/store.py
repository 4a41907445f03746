"""The durable core in short words: what tests do to it and ask of it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.database import see_tenants
from core.direct import Row as ClaimedRow
from core.lifecycle import Status
from core.presence import Presence
from core.store.accept import NewJob, insert_jobs
from core.store.moves import Cancelled, cancel_jobs
from core.store.work import Committed, Finish, Requeue, Room, claim, commit_outcomes

CHAT = "/v1/chat/completions"
PUBLIC_URL = "http://coatcheck.test"
RESULT = '{"object":"chat.completion"}'
ERROR = '{"code":"upstream_error","message":"It fell over.","retryable":true,"upstream_status":500}'
LEASE_S = 60.0


def chat_body(model: str, prompt: str = "Where is my coat?", **more: Any) -> str:
    """The JSON text of a chat request; `sim={…}` steers the simulator."""
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], **more}).decode()


def new_job(tenant_id: UUID, *, model: str = "sim/fast", **fields: Any) -> NewJob:
    """A job request as the API hands it to the store."""
    fields.setdefault("body", chat_body(model))
    return NewJob(ids.new_id(), tenant_id, CHAT, model, **fields)


class Process:
    """A worker process as the store knows it: an id and a lease, without the process."""

    def __init__(self, store: "Store", lease_s: float) -> None:
        self._store = store
        self.presence = Presence("worker", ("default",), lease_s)

    @property
    def id(self) -> UUID:
        return self.presence.id

    async def renew(self) -> dict[UUID, int]:
        """Renew the lease; the jobs that the store thinks are here, with their lease numbers."""
        return await self.presence.renew(self._store.worker, None, {})

    async def die(self) -> None:
        """Let the lease run out."""
        await self._store.sql("UPDATE processes SET lease_until = now() - interval '1 s' WHERE id = :id", id=self.id)

    async def claim(
        self,
        most: int = 100,
        *,
        lane: str = "default",
        models: Mapping[str, int] | None = None,
        body_bytes: int = 2**26,
        full_tenants: frozenset[UUID] = frozenset(),
    ) -> Sequence[ClaimedRow]:
        """Claim jobs; every model that waits has room unless `models` says otherwise."""
        if models is None:
            rows = await self._store.rows("SELECT DISTINCT model FROM ready")
            models = {row.model: most for row in rows}
        return await claim(self._store.worker, lane, self.id, Room(most, body_bytes, models, full_tenants))

    async def succeed(self, *claimed: ClaimedRow, result: str = RESULT) -> Committed:
        """Store results."""
        return await self.commit(
            [Finish(row.id, row.lease_no, "succeeded", row.event_seq, result=result) for row in claimed]
        )

    async def fail(self, *claimed: ClaimedRow, error: str = ERROR) -> Committed:
        """Store failures."""
        return await self.commit(
            [Finish(row.id, row.lease_no, "failed", row.event_seq, error=error) for row in claimed]
        )

    async def hand_back(self, *claimed: ClaimedRow) -> Committed:
        """Give jobs back without counting the attempt."""
        return await self.commit(
            [], [Requeue(row.id, row.lease_no, "handed_back", "worker_stopping", row.event_seq) for row in claimed]
        )

    async def retry(self, *claimed: ClaimedRow, delay_s: float = 0.0, reset: bool = False) -> Committed:
        """Send jobs back to the queue after a failed attempt."""
        moves = [
            Requeue(row.id, row.lease_no, "retried", "upstream_error", row.event_seq, delay_s, reset, ERROR)
            for row in claimed
        ]
        return await self.commit([], moves)

    async def commit(self, finishes: Sequence[Finish], requeues: Sequence[Requeue] = ()) -> Committed:
        return await commit_outcomes(self._store.worker, self.id, finishes, requeues, [], PUBLIC_URL)


class Store:
    """One database through the three roles."""

    def __init__(self, owner: AsyncEngine, api: AsyncEngine, worker: AsyncEngine) -> None:
        self.owner = owner
        self.api = api
        self.worker = worker

    async def tenant(self, name: str | None = None, weight: float = 1) -> UUID:
        """A new tenant."""
        tenant_id = ids.new_id()
        await self.sql(
            "INSERT INTO tenants (id, name, weight, webhook_secret_encrypted) VALUES (:id, :name, :weight, '')",
            id=tenant_id,
            name=name or str(tenant_id),
            weight=weight,
        )
        return tenant_id

    async def accept(self, *jobs: NewJob) -> list[UUID]:
        """Store jobs as one commit of the API does; their ids."""
        ordered = sorted(jobs, key=lambda job: job.id)
        async with self.api.begin() as connection:
            await see_tenants(connection, {job.tenant_id for job in jobs})
            await insert_jobs(connection, ordered)
        return [job.id for job in jobs]

    async def add(self, tenant_id: UUID, **fields: Any) -> UUID:
        """Store one job; its id."""
        return (await self.accept(new_job(tenant_id, **fields)))[0]

    async def process(self, lease_s: float = LEASE_S) -> Process:
        """A worker process with a valid lease."""
        process = Process(self, lease_s)
        await process.renew()
        return process

    async def cancel(self, tenant_id: UUID, *jobs: UUID) -> Cancelled:
        return await cancel_jobs(self.api, tenant_id, jobs, PUBLIC_URL)

    async def job(self, job: UUID) -> Row[Any]:
        """All columns of a job."""
        return (await self.rows("SELECT * FROM jobs WHERE id = :id", id=job))[0]

    async def status(self, job: UUID) -> Status:
        return Status((await self.job(job)).status)

    async def statuses(self) -> dict[str, int]:
        """How many jobs stand where."""
        return {row.status: row.n for row in await self.rows("SELECT status, count(*) AS n FROM jobs GROUP BY status")}

    async def events(self, job: UUID) -> list[tuple[int, str]]:
        """Number and type of the stored events of a job."""
        rows = await self.rows("SELECT seq, type FROM job_events WHERE job_id = :id ORDER BY seq", id=job)
        return [(row.seq, row.type) for row in rows]

    async def outcomes(self, job: UUID) -> list[str]:
        """How the attempts at a job ended, oldest first."""
        rows = await self.rows("SELECT outcome FROM attempts WHERE job_id = :id ORDER BY lease_no", id=job)
        return [row.outcome for row in rows]

    async def places(self, job: UUID) -> list[str]:
        """In which of the narrow tables the job stands."""
        query = " UNION ALL ".join(
            f"SELECT '{name}' AS place FROM {name} WHERE job_id = :id"
            for name in ("ready", "waiting", "held_back", "running")
        )
        return [row.place for row in await self.rows(query, id=job)]

    async def make_due(self) -> None:
        """Let the time of all waiting jobs come."""
        await self.sql("UPDATE waiting SET run_at = now() - interval '1 s'")

    async def make_late(self, *jobs: UUID) -> None:
        """Let the time run out in which these jobs should have started."""
        for table in ("ready", "held_back"):
            await self.sql(
                f"UPDATE {table} SET expires_at = now() - interval '1 s' WHERE job_id = ANY (:ids)", ids=list(jobs)
            )

    async def rows(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        """Ask as the owner."""
        async with self.owner.connect() as connection:
            return (await connection.execute(text(query), parameters)).all()

    async def value(self, query: str, **parameters: Any) -> Any:
        """The only value of the only row."""
        return (await self.rows(query, **parameters))[0][0]

    async def sql(self, statement: str, **parameters: Any) -> None:
        """Change something as the owner."""
        async with self.owner.begin() as connection:
            await connection.execute(text(statement), parameters)
