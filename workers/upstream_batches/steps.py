"""The steps of a batch. Each may be begun again by another worker, whatever the last one got done of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.direct import Row
from core.store.upstream_batches import NOBODY, UpstreamBatch, UpstreamBatchStore
from core.store.work import Room, claim
from policies.backoff import retry_delay
from policies.catalog import Catalog, Deployment
from workers.providers.protocol import ProviderError
from workers.upstream_batches import lines
from workers.upstream_batches.api import BatchApi, UpstreamState
from workers.upstream_batches.outcomes import Moved, Outcomes
from workers.upstream_batches.settlement import Settlement

_log = structlog.get_logger(__name__)

_PAGE: Final = 200
_CLAIM: Final = 500
_MOST_BYTES: Final = 32 * 2**20
_TRIES: Final = 5
#: A day is the Batch API's own limit; an upstream that has not ended a batch by then will not.
_GIVEN_UP_S: Final = 26 * 3600.0
_WORKING: Final = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_OUTCOMES: Final = frozenset({"completed", "expired", "cancelled", "failed"})


@dataclass(frozen=True, slots=True)
class Later:
    """Look again after so many seconds. ``counts``: the step failed, and that counts towards giving up."""

    pause_s: float
    counts: bool = False


class Steps:
    """Moves batches on.

    Args:
        engine: connections with the worker's role.
        store: the batches, as this process may move them.
        outcomes: makes and stores what becomes of jobs.
        catalog: returns the catalog in force.
        api: the Batch API of a deployment.
        start: begins an attempt at a claimed job that no Batch API takes, in this process.
        most: jobs in one batch.
        poll_s: how often the upstream is asked whether a batch is done.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        store: UpstreamBatchStore,
        outcomes: Outcomes,
        *,
        catalog: Callable[[], Catalog],
        api: Callable[[Deployment], BatchApi],
        start: Callable[[Row], None],
        most: int,
        poll_s: float,
    ) -> None:
        self._engine = engine
        self._store = store
        self._outcomes = outcomes
        self._settlement = Settlement(store, outcomes, api)
        self._catalog = catalog
        self._api = api
        self._start = start
        self._most = most
        self._poll_s = poll_s
        self._steps = {
            "collecting": self._collect,
            "filled": self._upload,
            "uploaded": self._submit,
            "submitted": self._follow,
        }

    async def take(self, batch: UpstreamBatch) -> UpstreamBatch | Later:
        """Take the next step: a batch in its next state, or when to look again."""
        deployment = self._deployment(batch.deployment)
        if batch.state == "ended":
            settled = await self._settlement.settle(batch, deployment)
            return Later(0.0) if settled else Later(self._poll_s, counts=True)
        if deployment is None:
            # The catalog has lost it, and with it the address and the key.
            return await self._end(batch, "refused")
        return await self._steps[batch.state](batch, deployment)

    async def failed(self, batch: UpstreamBatch, error: ProviderError) -> UpstreamBatch | Later:
        """A step that the upstream kept from its end: again later, or never."""
        _log.warning(
            "upstream_batch_failed", batch=str(batch.id), state=batch.state, code=error.code, error=error.message,
            tries=batch.tries,
        )  # fmt: skip
        later = Later(
            max(self._poll_s, retry_delay(batch.tries, retry_after=error.retry_after_s, rng=_Half())), counts=True
        )
        if batch.state == "submitted":
            if error.upstream_status == 404:
                return await self._end(batch, "lost")
            overdue = batch.submitted_at is not None and _age_s(batch.submitted_at) > _GIVEN_UP_S
            return await self._end(batch, "lost") if overdue else later
        if batch.state == "ended":
            if batch.tries < 4 * _TRIES:
                return later
            await self._settlement.give_up(batch, self._deployment(batch.deployment), error)
            return Later(0.0)
        if error.retryable and batch.tries < _TRIES:
            return later
        return await self._end(batch, "refused", error={"code": error.code, "message": error.message})

    # --- collecting: claim jobs, part them by endpoint ---

    async def _collect(self, batch: UpstreamBatch, deployment: Deployment) -> UpstreamBatch | Later:
        size, count = 0, 0
        # A batch that was collecting before is not filled any further: what it has is old enough.
        while batch.tries == 1 and size < _MOST_BYTES and count < self._most:
            room = Room(min(_CLAIM, self._most - count), _MOST_BYTES - size, {batch.model: self._most - count})
            rows = await claim(self._engine, "bulk", batch.id, room, {batch.model: deployment.name})
            if not rows:
                break
            count += len(rows)
            size += sum(row.body_bytes for row in rows)
            alien = [row for row in rows if not lines.fits(deployment, row.endpoint, stream=row.stream)]
            await self._start_here(batch, alien)
        return await self._part(batch, deployment)

    async def _start_here(self, batch: UpstreamBatch, rows: Sequence[Row]) -> None:
        """Run jobs as usual that no Batch API takes: streams, other endpoints."""
        ours = await self._store.adopt(batch, [row.id for row in rows]) if rows else set()
        for row in rows:
            if row.id in ours:
                self._start(row)

    async def _part(self, batch: UpstreamBatch, deployment: Deployment) -> UpstreamBatch | Later:
        by_endpoint: dict[str, list[UUID]] = {}
        strange: list[UUID] = []
        async for row in self._held(batch):
            fits = lines.fits(deployment, row.endpoint, stream=row.stream)
            (by_endpoint.setdefault(row.endpoint, []) if fits else strange).append(row.id)
        if strange:
            # The worker that claimed them died before it could start them: the sweep takes them for lost, as they are.
            await self._store.adopt(batch, strange, NOBODY)
        if not by_endpoint:
            return await self._end(batch, "empty")
        (endpoint, jobs), *rest = sorted(by_endpoint.items(), key=lambda item: -len(item[1]))
        for other, members in rest:
            await self._store.part(batch, ids.new_id(), other, members)
        return await self._store.advance(batch, "filled", endpoint=endpoint, jobs=len(jobs))

    # --- filled: make a file of the requests ---

    async def _upload(self, batch: UpstreamBatch, deployment: Deployment) -> UpstreamBatch | Later:
        api, name, jobs = self._api(deployment), f"coatcheck-{batch.id}.jsonl", batch.jobs
        file_id = await api.find_file(name) if batch.tries > 1 else None
        if file_id is None:
            requests = await self._requests(batch, deployment)
            if not requests:
                return await self._end(batch, "empty")
            file_id, jobs = await api.upload(name, b"\n".join(requests) + b"\n"), len(requests)
        return await self._store.advance(batch, "uploaded", file_id=file_id, jobs=jobs)

    async def _requests(self, batch: UpstreamBatch, deployment: Deployment) -> list[bytes]:
        """The lines of the jobs that go upstream; the others are answered, held back, or have failed."""
        requests: list[bytes] = []
        after: UUID | None = None
        while rows := await self._store.jobs(batch, after=after, most=_PAGE, with_body=True):
            after = rows[-1].id
            stay = {move.id: move for move in await self._outcomes.doors.enter(deployment, rows, batch.jobs)}
            for row in rows:
                if row.id in stay:
                    continue
                try:
                    requests.append(lines.request_line(row, deployment))
                except ProviderError as error:
                    stay[row.id] = self._outcomes.failed(batch, deployment, row, error)
            moves: list[Moved] = [(row, stay[row.id]) for row in rows if row.id in stay]
            await self._outcomes.store(batch, moves)
        return requests

    # --- uploaded: have the upstream work on it ---

    async def _submit(self, batch: UpstreamBatch, deployment: Deployment) -> UpstreamBatch | Later:
        api = self._api(deployment)
        found = await api.find(batch.id) if batch.tries > 1 else None
        if found is None:
            if not await self._any_left(batch):
                return await self._end(batch, "empty")
            found = await api.submit(str(batch.file_id), str(batch.endpoint), batch.id)
        _log.info("upstream_batch_submitted", batch=str(batch.id), upstream=found.id, jobs=batch.jobs)
        return await self._store.advance(batch, "submitted", upstream_id=found.id)

    # --- submitted: ask until it is done ---

    async def _follow(self, batch: UpstreamBatch, deployment: Deployment) -> UpstreamBatch | Later:
        api = self._api(deployment)
        state = await api.state(str(batch.upstream_id))
        if state.status in _OUTCOMES:
            return await self._end(
                batch, state.status, output_file_id=state.output_file_id, error_file_id=state.error_file_id, error=_told(state)
            )  # fmt: skip
        if state.status not in _WORKING:
            message = f"the upstream calls the batch {state.status[:40]!r}"
            raise ProviderError("bad_reply", message, retryable=True)
        if state.status in ("validating", "in_progress") and not await self._any_left(batch):
            # Every job was cancelled: nobody wants the rest to be worked on and paid.
            await api.cancel(str(batch.upstream_id))
        overdue = batch.submitted_at is not None and _age_s(batch.submitted_at) > _GIVEN_UP_S
        return await self._end(batch, "lost") if overdue else Later(self._poll_s)

    # --- what the steps share ---

    async def _held(self, batch: UpstreamBatch) -> AsyncIterator[Row]:
        after: UUID | None = None
        while rows := await self._store.jobs(batch, after=after, most=_PAGE, with_body=False):
            for row in rows:
                yield row
            after = rows[-1].id

    async def _any_left(self, batch: UpstreamBatch) -> bool:
        return bool(await self._store.jobs(batch, after=None, most=1, with_body=False))

    async def _end(self, batch: UpstreamBatch, outcome: str, **learned: Any) -> UpstreamBatch:
        return await self._store.advance(batch, "ended", outcome=outcome, **learned)

    def _deployment(self, name: str) -> Deployment | None:
        return next((found for found in self._catalog().deployments if found.name == name), None)


class _Half:
    """A pause in the middle of its range: the batches' own times spread them out."""

    def uniform(self, a: float, b: float, /) -> float:
        return (a + b) / 2


def _told(state: UpstreamState) -> dict[str, Any] | None:
    if not state.errors:
        return None
    kept = ("code", "message", "line")
    return {"errors": [{name: error[name] for name in kept if name in error} for error in state.errors[:100]]}


def _age_s(since: datetime) -> float:
    return (datetime.now(UTC) - since).total_seconds()
