"""Near questions: an answer that is kept for one may be the answer to another one that means the same.

Vectors say what is near (`core.store.semantic`), the guard says what means the same (`policies.likeness`), and the answer lies
where all answers lie. Whatever fails here is a miss: no job waits long for it, and none fails because of it. Texts of questions
are never logged.
"""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import end_tasks
from core.cache.embedders import Embedder
from core.cache.entries import Entry
from core.cache.planning import Planned
from core.cache.storage import Cache
from core.settings import CacheSettings
from core.store.failures import DATABASE_ERRORS
from core.store.semantic import (
    NO_VECTORS,
    Near,
    NewVector,
    forget_vectors,
    nearest,
    put_vectors,
    why_off,
)
from core.telemetry.metrics import SEMANTIC_LOOKUPS, SEMANTIC_SECONDS, SEMANTIC_STORES
from policies.likeness import DEFAULT_THRESHOLD, THRESHOLDS, differs, near, signature

#: So many neighbours by vectors, and so many by words, are looked at; the guard takes half a millisecond for each.
MOST: Final = 5
_AWAY_S: Final = 1.0
_OFF_S: Final = 60.0
_AT_ONCE: Final = 64
_MOST_WAITING: Final = 5_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NearHit:
    """A kept answer to a question that means the same.

    Attributes:
        entry: the answer.
        similarity: cosine of both questions.
    """

    entry: Entry
    similarity: float


class Semantic:
    """Finds near questions, and keeps new ones. One per process and event loop.

    Args:
        engine: where vectors lie.
        cache: where answers lie.
        settings: times and sizes.
    """

    def __init__(self, engine: AsyncEngine, cache: Cache, settings: CacheSettings) -> None:
        self._engine = engine
        self._cache = cache
        self._settings = settings
        self._away_until = 0.0
        self._off = False
        self._waiting: list[tuple[NewVector, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = False

    async def why_off(self) -> str | None:
        """Return why there is no semantic cache, for people; None when there is one.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: when Postgres does not answer.
        """
        if self._settings.semantic_entries == 0:
            return "COATCHECK_CACHE_SEMANTIC_ENTRIES is 0"
        return await why_off(self._engine)

    async def find(self, tenant: UUID, found: Planned, question: str, embedder: Embedder) -> NearHit | None:
        """Return the kept answer of the nearest question that means the same; None when there is none, or none in time."""
        began = time.perf_counter()
        neighbours = await self.neighbours(tenant, found.partition, question, embedder)
        if not neighbours:
            return None
        threshold = threshold_of(found, embedder)
        gone: list[bytes] = []
        hit: NearHit | None = None
        for each in neighbours:
            # The exact look-up came before this one: nothing is kept under its own key.
            if each.similarity < threshold or each.key == found.key:
                continue
            if not near(each.similarity, threshold, differs(each.question, question)):
                continue
            entry = await self._cache.get(tenant, each.key)
            if entry is not None:
                hit = NearHit(entry, each.similarity)
                break
            gone.append(each.key)
        if gone and self._cache.reachable:
            # Their answers ran out or were let go. They must not stand in the way of newer ones.
            self._start(self._forget(tenant, found.partition, embedder.name, gone))
        SEMANTIC_LOOKUPS.labels("far" if hit is None else "found").inc()
        SEMANTIC_SECONDS.observe(time.perf_counter() - began)
        return hit

    async def neighbours(self, tenant: UUID, partition: bytes, question: str, embedder: Embedder) -> list[Near]:
        """Return the nearest questions, nearest first, whatever the guard says of them; none when they can't be had in time."""
        if not self._answers():
            return []
        vector = await embedder.embed(question)
        if vector is None:
            SEMANTIC_LOOKUPS.labels("no_vector").inc()
            return []
        try:
            async with asyncio.timeout(self._settings.semantic_wait_s):
                found = await nearest(
                    self._engine, tenant, partition, embedder.name, vector, signature(question, partition), MOST
                )
        except NO_VECTORS:
            await self._turned_off()
            return []
        except DATABASE_ERRORS as error:
            self._lost("lookup", error)
            return []
        self._off = False
        if not found:
            SEMANTIC_LOOKUPS.labels("far").inc()
        return found

    async def keep(self, tenant: UUID, found: Planned, question: str, embedder: Embedder) -> None:
        """Keep the vector of a question whose answer was just kept. Bounded; never raises.

        Those that come together are written together. When this returns, the next who asks finds it, unless the write takes
        longer than a look-up may.
        """
        if not self._answers() or len(self._waiting) >= _MOST_WAITING:
            return
        vector = await embedder.embed(question)
        if vector is None:
            return
        ttl_s = found.plan.ttl_s or self._settings.ttl_s
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        words = signature(question, found.partition)
        made = NewVector(tenant, found.partition, embedder.name, found.key, question, vector, words, ttl_s)
        self._waiting.append((made, written))
        if not self._writing:
            self._writing = True
            self._start(self._write())
        await asyncio.wait([written], timeout=self._settings.semantic_wait_s)

    async def close(self) -> None:
        """End what goes on in the background."""
        await end_tasks(list(self._tasks))

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                try:
                    await put_vectors(self._engine, [vector for vector, _ in batch])
                    SEMANTIC_STORES.labels("stored").inc(len(batch))
                except NO_VECTORS:
                    await self._turned_off()
                except DATABASE_ERRORS as error:
                    SEMANTIC_STORES.labels("lost").inc(len(batch))
                    self._lost("store", error)
                finally:
                    for _, written in batch:
                        if not written.done():
                            written.set_result(None)
        finally:
            self._writing = False

    async def _forget(self, tenant: UUID, partition: bytes, embedder: str, keys: list[bytes]) -> None:
        try:
            await forget_vectors(self._engine, tenant, partition, embedder, keys)
        except DATABASE_ERRORS as error:
            self._lost("forget", error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="semantic")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answers(self) -> bool:
        return self._cache.enabled and self._settings.semantic_entries > 0 and time.monotonic() >= self._away_until

    def _lost(self, what: str, error: BaseException) -> None:
        SEMANTIC_LOOKUPS.labels("lost").inc()
        if time.monotonic() >= self._away_until:
            _log.warning("semantic_cache_away", during=what, error=type(error).__name__)
        self._away_until = time.monotonic() + _AWAY_S

    async def _turned_off(self) -> None:
        """Look no more for a while: the table may be made at any time, by `coatcheck migrate`."""
        self._away_until = time.monotonic() + _OFF_S
        if self._off:
            return
        self._off = True
        try:
            reason = await why_off(self._engine)
        except DATABASE_ERRORS:
            reason = None
        _log.warning("semantic_cache_off", reason=reason or "the table of vectors is not there")


def threshold_of(found: Planned, embedder: Embedder) -> float:
    """Return the least similarity of a hit: the job's, its key's or model's, else what was measured for the embedder."""
    given = found.plan.threshold
    return THRESHOLDS.get(embedder.name, DEFAULT_THRESHOLD) if given is None else given
