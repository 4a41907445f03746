"""What the worker does for caches: a last look before an attempt, and keeping what came of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from core.cache import About, Answered, Cache, Embedder, Entry, NearHit, Planned, Semantic, Shadow, finish_of
from core.store.work import Finish, Requeue
from core.telemetry.metrics import CACHE_JOBS
from policies.cache_keys import last_user_text
from policies.cache_policy import complete
from policies.replay import replayed
from workers.engine.deltas import DeltaStream
from workers.engine.job import Job
from workers.providers.protocol import Delta

_log = structlog.get_logger(__name__)
# What the API has looked for a moment ago need not be looked for again.
_JUST_LOOKED_MS: Final = 1000.0
_MISS: Final = {
    "code": "cache_miss",
    "message": "Nothing is cached for this request.",
    "retryable": False,
    "upstream_status": None,
}


@dataclass(frozen=True, slots=True)
class Nearness:
    """What near questions are found with.

    Attributes:
        semantic: finds and keeps them.
        shadow: records what would have been found.
        embedder: returns who makes their vectors now.
    """

    semantic: Semantic
    shadow: Shadow
    embedder: Callable[[], Embedder]


class Caching:
    """Answers jobs from the cache, and fills it.

    Args:
        cache: where entries lie.
        nearness: how near questions are found; None: they are not.
    """

    def __init__(self, cache: Cache, nearness: Nearness | None = None) -> None:
        self._cache = cache
        self._nearness = nearness

    async def before(self, job: Job, stream: DeltaStream) -> Finish | None:
        """Return the end of a job whose answer has come into the cache since it was accepted; None when it has to be asked for.

        A job that shares its call comes here after the one before it: with its answer there, no second call is made.
        """
        found = Planned.of(job.cache_options)
        if not found.plan.look:
            return None
        entry = await self._cache.answer(job.tenant_id, found.key, job.endpoint, job.body)
        similarity: float | None = None
        if entry is None and (near := await self._near(job, found)) is not None:
            entry, similarity = near.entry, near.similarity
        if entry is None:
            return _missed(job, stream) if found.plan.only else None
        if job.stream:
            for told in replayed(job.endpoint, orjson.loads(entry.result)):
                stream.add(Delta(told["delta"], told.get("choice")))
        CACHE_JOBS.labels("hit" if similarity is None else "semantic_hit").inc()
        finish = finish_of(
            entry, job.id, job.lease_no, stream.last_seq, queued_ms=job.queued_ms, running_ms=job.running_ms(),
            similarity=similarity,
        )  # fmt: skip
        finish.batch_size, finish.plain = job.batch_size, job.plain
        return finish

    async def after(self, job: Job, move: Finish | Requeue) -> Finish | Requeue:
        """Tell the caches' part in an end, and keep the answer of a success if it is whole; return the move.

        To be awaited before the move is committed: whoever the commit lets in next finds the answer. Bounded; never raises.
        """
        found = Planned.of(job.cache_options)
        if not isinstance(move, Finish) or move.cache is not None or not found.key:
            return move
        status, kept = found.plan.status, True
        CACHE_JOBS.labels(status).inc()
        if found.plan.keep and move.status == "succeeded" and move.result is not None:
            try:
                kept = await self._keep(job, move, found)
            except Exception:  # noqa: BLE001 - an answer that cannot be kept is an answer all the same
                _log.exception("cache_keep_broke")
                kept = False
        move.cache = _told(status, kept=kept)
        return move

    async def _keep(self, job: Job, move: Finish, found: Planned) -> bool:
        assert move.result is not None  # noqa: S101 - looked at by the caller
        body, result = orjson.loads(job.body), orjson.loads(move.result)
        if not complete(job.endpoint, body, result):
            return False
        entry = Entry(
            result=move.result,
            usage=_read(move.usage),
            cost_usd=move.cost_usd,
            took_ms=_took_ms(move),
            stored_at=time.time(),
            route=_read(move.route),
            about=About(job.endpoint, body["model"], _schedule(job), _metadata(job)),
        )
        kept = await self._cache.put(job.tenant_id, found.key, entry, found.plan.ttl_s, job.running_ms() / 1000)
        if kept and found.partition and self._nearness is not None:
            await self._keep_question(job, body, result, found, self._nearness)
        return kept

    async def _near(self, job: Job, found: Planned) -> NearHit | None:
        if self._nearness is None or found.plan.semantic != "on":
            return None
        if found.looked and job.attempt == 1 and job.queued_ms < _JUST_LOOKED_MS:
            return None
        try:
            question = last_user_text(job.endpoint, orjson.loads(job.body))
            if question is None:
                return None
            return await self._nearness.semantic.find(job.tenant_id, found, question, self._nearness.embedder())
        except Exception:  # noqa: BLE001 - what is not found is asked for
            _log.exception("cache_look_broke")
            return None

    async def _keep_question(
        self, job: Job, body: Mapping[str, Any], result: Mapping[str, Any], found: Planned, nearness: Nearness
    ) -> None:
        question, embedder = last_user_text(job.endpoint, body), nearness.embedder()
        if question is None:
            return
        if found.plan.semantic == "shadow":
            nearness.shadow.note(
                Answered(job.tenant_id, job.endpoint, body["model"], question, result), found, embedder
            )
        await nearness.semantic.keep(job.tenant_id, found, question, embedder)


def _missed(job: Job, stream: DeltaStream) -> Finish:
    CACHE_JOBS.labels("miss").inc()
    return Finish(
        job.id, job.lease_no, "failed", stream.last_seq, error=orjson.dumps(_MISS).decode(), batch_size=job.batch_size,
        plain=job.plain, cache=_told("miss"),
    )  # fmt: skip


def _told(status: str, *, kept: bool = True) -> str:
    """Return what a job tells of caches; that its answer was to be kept and is not, only where it is so."""
    told = {"status": status, "similarity": None, "age_s": None}
    return orjson.dumps(told if kept else {**told, "kept": False}).decode()


def _took_ms(move: Finish) -> float:
    # Nobody knows it of an answer that came with a batch.
    return float((_read(move.timing) or {}).get("upstream_ms") or 0.0)


def _read(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else orjson.loads(text)


def _schedule(job: Job) -> str | None:
    return None if job.schedule_id is None else job.schedule_id.hex


def _metadata(job: Job) -> Mapping[str, str] | None:
    return job.metadata or None
