"""What the worker does for caches: a last look before an attempt, and keeping what came of it."""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from core.cache import About, Cache, Entry, Planned, finish_of
from core.store.work import Finish, Requeue
from core.telemetry.metrics import CACHE_JOBS
from policies.cache_policy import complete
from policies.replay import replayed
from workers.engine.deltas import DeltaStream
from workers.engine.job import Job
from workers.providers.protocol import Delta

_log = structlog.get_logger(__name__)
_MISS: Final = {
    "code": "cache_miss",
    "message": "Nothing is cached for this request.",
    "retryable": False,
    "upstream_status": None,
}


class Caching:
    """Answers jobs from the cache, and fills it.

    Args:
        cache: where entries lie.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def before(self, job: Job, stream: DeltaStream) -> Finish | None:
        """Return the end of a job whose answer has come into the cache since it was accepted; None when it has to be asked for.

        A job that shares its call comes here after the one before it: with its answer there, no second call is made.
        """
        found = Planned.of(job.cache_options)
        if not found.plan.look:
            return None
        entry = await self._cache.get(job.tenant_id, found.key)
        if entry is None:
            return _missed(job, stream) if found.plan.only else None
        if job.stream:
            for told in replayed(job.endpoint, orjson.loads(entry.result)):
                stream.add(Delta(told["delta"], told.get("choice")))
        CACHE_JOBS.labels("hit").inc()
        finish = finish_of(
            entry, job.id, job.lease_no, stream.last_seq, queued_ms=job.queued_ms, running_ms=job.running_ms()
        )
        finish.batch_size, finish.plain = job.batch_size, job.plain
        return finish

    async def after(self, job: Job, move: Finish | Requeue) -> Finish | Requeue:
        """Tell the caches' part in a success, and keep its answer if it is whole; return the move.

        To be awaited before the move is committed: whoever the commit lets in next finds the answer. Bounded; never raises.
        """
        found = Planned.of(job.cache_options)
        if not isinstance(move, Finish) or move.status != "succeeded" or move.cache is not None or not found.key:
            return move
        status = found.plan.status
        move.cache = orjson.dumps({"status": status, "similarity": None, "age_s": None}).decode()
        CACHE_JOBS.labels(status).inc()
        if found.plan.keep and move.result is not None:
            try:
                await self._keep(job, move, found)
            except Exception:  # noqa: BLE001 - an answer that cannot be kept is an answer all the same
                _log.exception("cache_keep_broke")
        return move

    async def _keep(self, job: Job, move: Finish, found: Planned) -> None:
        assert move.result is not None  # noqa: S101 - looked at by the caller
        body = orjson.loads(job.body)
        if not complete(job.endpoint, body, orjson.loads(move.result)):
            return
        entry = Entry(
            result=move.result,
            usage=_read(move.usage),
            cost_usd=move.cost_usd,
            took_ms=_took_ms(job, move),
            stored_at=time.time(),
            route=_read(move.route),
            about=About(job.endpoint, body["model"], _schedule(job), _metadata(job)),
        )
        await self._cache.put(job.tenant_id, found.key, entry, found.plan.ttl_s, job.running_ms() / 1000)


def _missed(job: Job, stream: DeltaStream) -> Finish:
    return Finish(
        job.id, job.lease_no, "failed", stream.last_seq, error=orjson.dumps(_MISS).decode(), batch_size=job.batch_size,
        plain=job.plain,
    )  # fmt: skip


def _took_ms(job: Job, move: Finish) -> float:
    timing = _read(move.timing) or {}
    return float(timing.get("upstream_ms") or job.running_ms())


def _read(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else orjson.loads(text)


def _schedule(job: Job) -> str | None:
    return None if job.schedule_id is None else job.schedule_id.hex


def _metadata(job: Job) -> Mapping[str, str] | None:
    return job.metadata or None
