"""What an answer, an error or a hand-back means for a job: the move that is stored."""

import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import Announcer
from core.direct import Row
from core.store.failures import is_crossed, is_outage
from core.store.upstream_batches import UpstreamBatch
from core.store.work import Finish, Requeue, commit_outcomes
from core.telemetry.metrics import ATTEMPTS, CACHE_JOBS, DROPPED, TOKENS
from policies.backoff import retry_delay
from policies.catalog import Deployment
from policies.costs import cost_usd
from workers.providers import shape
from workers.providers.protocol import ProviderError, Usage
from workers.providers.reading import bad_reply
from workers.upstream_batches.doors import Doors, Move

_log = structlog.get_logger(__name__)

#: A job as its batch held it, and what becomes of it.
Moved = tuple[Row, Move]


class Outcomes:
    """Makes moves for the jobs of batches, and stores them.

    Args:
        engine: connections with the worker's role.
        public_url: what absolute URLs in webhook payloads start with.
        announcer: tells waiters.
        work: told of each lane that a commit gave work, `webhooks` among them.
        doors: what jobs pass on their way into a batch and out of it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        public_url: str,
        announcer: Announcer,
        work: Callable[[str], None],
        doors: Doors,
    ) -> None:
        self._engine = engine
        self.doors = doors
        self._work = work
        self._public_url = public_url
        self._announcer = announcer
        self._rng = random.Random()

    def answered(self, batch: UpstreamBatch, deployment: Deployment, row: Row, body: Any, secret: str | None) -> Move:
        """The move for an answer; for one that is none, that of an error."""
        try:
            checked = shape.checked(row.endpoint, orjson.loads(row.body), body, secret)
            result = orjson.dumps(checked).decode()
        except ProviderError as error:
            return self.failed(batch, deployment, row, error)
        except (TypeError, ValueError):
            return self.failed(batch, deployment, row, bad_reply("The upstream's answer is not valid JSON."))
        usage = shape.usage_of(checked)
        ATTEMPTS.labels(row.model, "succeeded", "").inc()
        if usage is not None:
            TOKENS.labels(row.model, "input").inc(usage.input_tokens)
            TOKENS.labels(row.model, "output").inc(usage.output_tokens)
        return Finish(
            row.id,
            row.lease_no,
            "succeeded",
            row.event_seq,
            result=result,
            usage=_usage(usage),
            cost_usd=cost_usd(deployment.price, usage, batch=True),
            route=_route(deployment),
            timing=_timing(batch, row),
            deployment=deployment.name,
            batch_size=batch.jobs,
            plain=not row.tied,
        )

    def failed(self, batch: UpstreamBatch, deployment: Deployment | None, row: Row, error: ProviderError) -> Move:
        """The move for an error: another attempt if it may help and one is left, else the end."""
        again = error.retryable and row.attempts < row.max_attempts
        ATTEMPTS.labels(row.model, "retried" if again else "failed", error.code).inc()
        details = error.told()
        if again:
            delay = retry_delay(row.attempts, retry_after=error.retry_after_s, rng=self._rng)
            return Requeue(
                row.id, row.lease_no, "retried", error.code, row.event_seq, delay_s=delay, error=_json(details),
                deployment=batch.deployment, batch_size=batch.jobs,
            )  # fmt: skip
        ending, own = details, None
        if error.retryable:
            ending, own = error.gave_up(row.attempts), details
        return Finish(
            row.id, row.lease_no, "failed", row.event_seq, error=_json(ending), attempt_error=_json(own),
            route=_route(deployment) if deployment else None, timing=_timing(batch, row),
            deployment=batch.deployment, batch_size=batch.jobs, plain=not row.tied,
        )  # fmt: skip

    def handed_back(self, batch: UpstreamBatch, row: Row, reason: str, delay_s: float = 0.0) -> Move:
        """The move for a job that nobody has tried: back to the queue, and the attempt is not counted."""
        return Requeue(
            row.id, row.lease_no, "handed_back", reason, row.event_seq, delay_s=delay_s, deployment=batch.deployment,
            batch_size=batch.jobs,
        )  # fmt: skip

    async def store(self, batch: UpstreamBatch, moves: Sequence[Moved]) -> None:
        """Store moves and tell whoever waits for them. One that is refused for its data's sake fails its own job and no other.

        Raises:
            whatever a database raises that is away: nothing is lost, the batch is still there.
        """
        if not moves:
            return
        try:
            await self._commit(batch.id, [move for _, move in moves])
        except Exception as error:
            if is_outage(error) or (is_crossed(error) and len(moves) == 1):
                raise
            if len(moves) == 1:
                await self._refuse(batch, moves[0], error)
                return
            middle = len(moves) // 2
            await self.store(batch, moves[:middle])
            await self.store(batch, moves[middle:])
        else:
            await self.doors.left(moves)

    async def _commit(self, batch_id: UUID, moves: Sequence[Move]) -> None:
        finishes = [move for move in moves if isinstance(move, Finish)]
        requeues = [move for move in moves if isinstance(move, Requeue)]
        committed = await commit_outcomes(self._engine, batch_id, finishes, requeues, [], self._public_url)
        self._announcer.moved((*(move.id for move in moves), *committed.coalesced))
        CACHE_JOBS.labels("coalesced").inc(len(committed.coalesced))
        for lane in (*committed.lanes, *(("webhooks",) if committed.deliveries else ())):
            self._work(lane)
        dropped = len(moves) - len(committed.finished) - len(committed.requeued)
        if dropped:
            DROPPED.inc(dropped)

    async def _refuse(self, batch: UpstreamBatch, moved: Moved, error: Exception) -> None:
        row, move = moved
        _log.error("outcome_refused", job_id=str(move.id), error=type(error).__name__)
        unstorable = ProviderError("bad_reply", "The answer could not be stored.", retryable=False)
        details = unstorable.told()
        ending = Finish(
            move.id, move.lease_no, "failed", move.last_seq, error=_json(details), deployment=batch.deployment,
            batch_size=batch.jobs,
        )  # fmt: skip
        await self._commit(batch.id, [ending])
        await self.doors.left([(row, ending)])


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _usage(usage: Usage | None) -> str | None:
    if usage is None:
        return None
    names = ("input_tokens", "output_tokens", "cached_tokens", "total_tokens")
    return _json({name: getattr(usage, name) for name in names})


def _route(deployment: Deployment) -> str | None:
    return _json(
        {
            "model": deployment.upstream_model or deployment.model,
            "deployment": deployment.name,
            "region": deployment.region,
            "tier": None,
            "reason": f"jobs of the lane bulk go through the Batch API of {deployment.name}",
            "fallbacks": [],
        }
    )


def _timing(batch: UpstreamBatch, row: Row) -> str | None:
    timing = {
        "queued_ms": row.queued_ms,
        "batch_size": batch.jobs,
        "connect_ms": None,
        "ttft_ms": None,
        "itl_ms": None,
        "tokens_per_s": None,
        # How long the upstream worked on one request of a batch nobody knows.
        "upstream_ms": None,
        "overhead_ms": row.queued_ms,
        "total_ms": row.queued_ms + row.running_ms,
    }
    return _json({name: round(value, 2) if isinstance(value, float) else value for name, value in timing.items()})
