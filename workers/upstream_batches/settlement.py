"""The last step of a batch: store the answers, send the rest back, tidy up. It may be begun again at any point of it."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from core.direct import Row
from core.store.upstream_batches import UpstreamBatch, UpstreamBatchStore
from policies.catalog import Deployment
from workers.providers.protocol import ProviderError
from workers.upstream_batches import lines
from workers.upstream_batches.api import BatchApi
from workers.upstream_batches.doors import Move
from workers.upstream_batches.outcomes import Moved, Outcomes

_log = structlog.get_logger(__name__)

_PAGE: Final = 200
_LIMITED_PAUSE_S: Final = 60.0
_HAND_BACKS: Final = 6
_MISSING: Final = {
    "completed": ProviderError("bad_reply", "the batch holds no answer to this request", retryable=True),
    "expired": ProviderError("upstream_timeout", "the batch ran out of time before this request", retryable=True),
    "cancelled": ProviderError("upstream_error", "the batch was cancelled at the upstream", retryable=True),
    "lost": ProviderError("upstream_error", "the upstream no longer knows the batch", retryable=True),
}


class Settlement:
    """Settles batches that have ended.

    Args:
        store: the batches, as this process may move them.
        outcomes: makes and stores what becomes of jobs.
        api: the Batch API of a deployment.
    """

    def __init__(self, store: UpstreamBatchStore, outcomes: Outcomes, api: Callable[[Deployment], BatchApi]) -> None:
        self._store = store
        self._outcomes = outcomes
        self._api = api

    async def settle(self, batch: UpstreamBatch, deployment: Deployment | None) -> bool:
        """Settle a batch; tell whether it is settled. Without its deployment the answers are out of reach."""
        if deployment is not None and batch.outcome == "failed":
            await self._fail_named(batch, deployment)
        elif deployment is not None:
            for file_id in (batch.output_file_id, batch.error_file_id):
                if file_id is not None:
                    await self._store_answers(batch, deployment, file_id)
        while rows := await self._store.jobs(batch, after=None, most=_PAGE, with_body=False):
            await self._outcomes.store(batch, [(row, self._returned(batch, deployment, row)) for row in rows])
        if deployment is not None:
            await self._tidy(batch, deployment)
        settled = await self._store.settle(batch)
        if settled:
            _log.info("upstream_batch_settled", batch=str(batch.id), outcome=batch.outcome, jobs=batch.jobs)
        return settled

    async def give_up(self, batch: UpstreamBatch, deployment: Deployment | None, error: ProviderError) -> None:
        """Settle a batch whose answers can't be had: its jobs' attempts have failed."""
        while rows := await self._store.jobs(batch, after=None, most=_PAGE, with_body=False):
            moves: list[Moved] = [(row, self._outcomes.failed(batch, deployment, row, error)) for row in rows]
            await self._outcomes.store(batch, moves)
        await self._store.settle(batch)

    async def _store_answers(self, batch: UpstreamBatch, deployment: Deployment, file_id: str) -> None:
        api = self._api(deployment)
        page: dict[tuple[UUID, int], lines.Answer] = {}
        async for line in api.lines(file_id):
            answer = lines.read_answer(line, api.secret)
            if answer is not None:
                page.setdefault((answer.job_id, answer.lease_no), answer)
            if len(page) >= _PAGE:
                await self._store_page(batch, deployment, page)
                page = {}
        await self._store_page(batch, deployment, page)

    async def _store_page(
        self, batch: UpstreamBatch, deployment: Deployment, page: dict[tuple[UUID, int], lines.Answer]
    ) -> None:
        secret = self._api(deployment).secret
        moves: list[Moved] = []
        for row in await self._store.some(batch, list(page)) if page else []:
            answer = page[row.id, row.lease_no]
            if answer.error is not None:
                moves.append((row, self._outcomes.failed(batch, deployment, row, answer.error)))
            else:
                move = self._outcomes.answered(batch, deployment, row, answer.body, secret)
                # Whoever the commit lets in next finds the answer.
                moves.append((row, await self._outcomes.doors.answered(row, move)))
        await self._outcomes.store(batch, moves)

    async def _fail_named(self, batch: UpstreamBatch, deployment: Deployment) -> None:
        """The upstream took the file and then not: for the lines that it names, this attempt has failed."""
        numbers = {error["line"]: error for error in _errors(batch) if type(error.get("line")) is int}
        if not numbers or batch.file_id is None:
            return
        api, number = self._api(deployment), 0
        guilty: dict[tuple[UUID, int], str] = {}
        async for line in api.lines(batch.file_id):
            number += 1
            owner = lines.owner_of(line)
            if owner is not None and number in numbers:
                guilty[owner] = str(numbers[number].get("message") or "no reason given")
        moves: list[Moved] = [
            (
                row,
                self._outcomes.failed(batch, deployment, row, lines.refused(guilty[row.id, row.lease_no], api.secret)),
            )
            for row in (await self._store.some(batch, list(guilty)) if guilty else [])
        ]
        await self._outcomes.store(batch, moves)

    def _returned(self, batch: UpstreamBatch, deployment: Deployment | None, row: Row) -> Move:
        """What becomes of a job of which the files do not speak."""
        error = _MISSING.get(str(batch.outcome)) or _whole_refused(batch)
        innocent = any("line" in told for told in _errors(batch)) or error.code == "rate_limited"
        free = batch.outcome == "refused" or (batch.outcome == "failed" and innocent)
        # Who was handed back again and again pays with attempts in the end: nothing goes round for ever.
        if free and row.lease_no - row.attempts < _HAND_BACKS:
            return self._outcomes.handed_back(batch, row, f"batch_{batch.outcome}", error.retry_after_s or 0.0)
        return self._outcomes.failed(batch, deployment, row, error)

    async def _tidy(self, batch: UpstreamBatch, deployment: Deployment) -> None:
        """Delete the files; one that can't be deleted keeps nobody from anything."""
        try:
            api = self._api(deployment)
            if batch.outcome == "lost" and batch.upstream_id is not None:
                await api.cancel(batch.upstream_id)
            for file_id in (batch.file_id, batch.output_file_id, batch.error_file_id):
                if file_id is not None:
                    await api.delete_file(file_id)
        except ProviderError as error:
            _log.info("upstream_files_left", batch=str(batch.id), code=error.code)


def _errors(batch: UpstreamBatch) -> list[dict[str, object]]:
    return list((batch.error or {}).get("errors", []))


def _whole_refused(batch: UpstreamBatch) -> ProviderError:
    first = (_errors(batch) or [{}])[0]
    message = f"the upstream refused the batch: {first.get('message') or 'no reason given'}"[:400]
    if "limit" in str(first.get("code")):
        # Too much is waiting there already: it will be less later.
        return ProviderError("rate_limited", message, retryable=True, retry_after_s=_LIMITED_PAUSE_S)
    return ProviderError("upstream_error", message, retryable=True)
