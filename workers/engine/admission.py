"""Limits of keys and tenants, asked for before an attempt and settled after it. Jobs of keys without limits pass at no cost."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from uuid import UUID

import orjson

from core.direct import Row
from core.limits import Batched, Candidate, Gate, expected
from core.store.work import Finish, Requeue
from policies.catalog import Catalog, Deployment
from workers.engine.job import Job


class Admission:
    """Asks for jobs that were claimed together in one exchange.

    Args:
        gate: knows the limits and keeps the books.
        catalog: returns the catalog in force, which knows what a job may cost.
    """

    def __init__(self, gate: Gate, catalog: Callable[[], Catalog]) -> None:
        self._gate = gate
        self._catalog = catalog
        self._asking: list[tuple[Job, asyncio.Future[float | None]]] = []
        self._task: asyncio.Task[None] | None = None

    def free(self, job: Job) -> bool:
        """Whether a job may start without asking."""
        return self._gate.unlimited(job.key_id)

    async def wait_s(self, job: Job) -> float | None:
        """Return after how many seconds the job is to be looked at again, None when it may start now."""
        answer: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._asking.append((job, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask(), name="admission")
        return await answer

    def ended(self, job: Job, move: Finish | Requeue | None) -> None:
        """Settle what was set aside: an attempt came to this move, or was broken off."""
        if self._gate.holds(job.id):
            tokens, cost = _used(move)
            self._gate.ended(job.id, tokens=tokens, cost=cost)

    async def batched(self, jobs: Sequence[Job], deployment: Deployment) -> dict[UUID, float]:
        """Return the jobs that are not to go into a batch now, with the seconds after which they are to be looked at again.

        Raises:
            What the driver raises when Postgres cannot be reached.
        """
        limited = {job.id: job for job in jobs if not self._gate.unlimited(job.key_id)}
        candidates = [Batched(job.id, job.key_id, job.started_at) for job in limited.values() if job.key_id is not None]
        return await self._gate.admit_batched(candidates, lambda job: self._batch_cost(limited[job], deployment))

    async def batch_ended(self, moves: Sequence[tuple[Row, Finish | Requeue]]) -> None:
        """Settle what was set aside for jobs of batches. Takes rows with `key_id` and `started_at`.

        Raises:
            What the driver raises when Postgres cannot be reached.
        """
        ended = [(row, move) for row, move in moves if not self._gate.unlimited(row.key_id)]
        await self._gate.ended_batched(
            [(Batched(row.id, row.key_id, row.started_at), _used(move)[1]) for row, move in ended]
        )

    async def close(self) -> None:
        """Wait until everything is settled."""
        await self._gate.aclose()

    async def _ask(self) -> None:
        while self._asking:
            asking, self._asking = self._asking, []
            try:
                waits = await self._gate.admit(
                    [Candidate(job.id, job.key_id, partial(self._estimate, job)) for job, _ in asking]
                )
            except Exception as error:  # noqa: BLE001 - whoever waits for the answer has to get one
                for _, answer in asking:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for job, answer in asking:
                if not answer.done():
                    answer.set_result(waits.get(job.id))
                elif job.id not in waits:
                    self._gate.ended(job.id)

    def _estimate(self, job: Job) -> tuple[int, Decimal | None]:
        return expected(self._catalog(), job.model, job.endpoint, orjson.loads(job.body))

    def _batch_cost(self, job: Job, deployment: Deployment) -> Decimal | None:
        _, cost = self._estimate(job)
        return cost if cost is None or deployment.price is None else cost * deployment.price.batch_factor


def _used(move: Finish | Requeue | None) -> tuple[int, Decimal | None]:
    if not isinstance(move, Finish) or move.usage is None:
        return 0, None
    return int(orjson.loads(move.usage).get("total_tokens") or 0), move.cost_usd
