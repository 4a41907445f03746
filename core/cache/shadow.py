"""Shadow mode: what the semantic cache would have served, beside what the upstream answered then. Nothing of it is served."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.announce import end_tasks
from core.cache.embedders import Embedder, vector_of
from core.cache.entries import Entry
from core.cache.planning import Planned
from core.cache.semantic import Semantic, threshold_of
from core.cache.storage import Cache
from core.store.failures import DATABASE_ERRORS
from core.store.semantic import Near
from core.tables import semantic_shadow
from core.telemetry.metrics import SEMANTIC_SHADOWS
from policies.likeness import differs
from policies.shadow import FLOOR, answer_text
from policies.vectors import cosine

# A record is no job's business: when so many are being made, the next one is not.
_AT_ONCE: Final = 32

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """A question that the upstream has just answered.

    Attributes:
        tenant: whose.
        endpoint: such as `/v1/chat/completions`.
        model: as it was asked for.
        question: its text.
        result: the whole body of the answer.
    """

    tenant: UUID
    endpoint: str
    model: str
    question: str
    result: Mapping[str, Any]


class Shadow:
    """Records would-be hits, in the background.

    Args:
        engine: a worker's connections.
        cache: where answers lie.
        semantic: finds near questions.
    """

    def __init__(self, engine: AsyncEngine, cache: Cache, semantic: Semantic) -> None:
        self._engine = engine
        self._cache = cache
        self._semantic = semantic
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, answered: Answered, found: Planned, embedder: Embedder) -> None:
        """Compare an answer with that of the nearest question before it, some time soon."""
        if len(self._tasks) >= _AT_ONCE:
            SEMANTIC_SHADOWS.labels("passed_over").inc()
            return
        task = asyncio.get_running_loop().create_task(self._record(answered, found, embedder), name="shadow")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what goes on in the background."""
        await end_tasks(list(self._tasks))

    async def _record(self, answered: Answered, found: Planned, embedder: Embedder) -> None:
        try:
            await self._compare(answered, found, embedder)
        except DATABASE_ERRORS as error:
            SEMANTIC_SHADOWS.labels("lost").inc()
            _log.warning("shadow_lost", error=type(error).__name__)
        except Exception:  # noqa: BLE001 - as the comment says
            # Raised by nobody, so nobody would hear of it.
            SEMANTIC_SHADOWS.labels("lost").inc()
            _log.exception("shadow_broke")

    async def _compare(self, answered: Answered, found: Planned, embedder: Embedder) -> None:
        neighbours = await self._semantic.neighbours(answered.tenant, found.partition, answered.question, embedder)
        judged = [
            (each, differs(each.question, answered.question))
            for each in neighbours
            if each.key != found.key and each.similarity >= FLOOR
        ]
        # What would have been served, else the nearest that was refused.
        for each, guard in sorted(judged, key=lambda pair: pair[1] is not None):
            entry = await self._cache.get(answered.tenant, each.key)
            if entry is not None:
                await self._store(answered, found, embedder, each, guard, entry)
                return

    async def _store(
        self, answered: Answered, found: Planned, embedder: Embedder, each: Near, guard: str | None, entry: Entry
    ) -> None:
        kept, came = (
            answer_text(answered.endpoint, result) for result in (orjson.loads(entry.result), answered.result)
        )
        row = {
            "id": ids.new_id(), "tenant_id": answered.tenant, "endpoint": answered.endpoint, "model": answered.model,
            "embedder": embedder.name, "threshold": threshold_of(found, embedder), "similarity": each.similarity, "guard": guard,
            "kept_question": each.question, "question": answered.question, "same": kept == came,
            # Long answers take milliseconds, which the loop has other use for.
            "answers_cosine": await asyncio.to_thread(_agreement, kept, came),
        }  # fmt: skip
        async with self._engine.begin() as connection:
            await connection.execute(insert(semantic_shadow).values(row))
        SEMANTIC_SHADOWS.labels("passed" if guard is None else "refused").inc()


def _agreement(kept: str, came: str) -> float | None:
    one, other = vector_of(kept), vector_of(came)
    return None if one is None or other is None else cosine(one, other)
