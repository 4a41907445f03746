"""Vectors of questions, where the server has pgvector. Each leads to the key of a kept answer; a missing answer is a miss."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import see_tenants
from core.store.statements import fetch, statement
from core.tables import semantic_shadow

#: What the server says when the table was not made, or was dropped.
NO_VECTORS: Final = (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError)
_OFF: Final = "the table of vectors was not made: run `coatcheck migrate`"
_OFFERED: Final = (
    "the database has no extension vector: as a superuser run CREATE EXTENSION vector, then `coatcheck migrate`"
)
_NOT_OFFERED: Final = "the server has no pgvector"

_THERE = text("SELECT to_regclass('semantic_entries') IS NOT NULL")
_COUNT = text("SELECT count(*) FROM semantic_entries WHERE tenant_id = :tenant")
_FORGET_ALL = text("DELETE FROM semantic_entries WHERE tenant_id = :tenant")
_MAKE = text("SELECT make_semantic_entries()")


@dataclass(frozen=True, slots=True)
class Near:
    """A question that was asked before.

    Attributes:
        key: of the answer that is kept for it.
        question: its text.
        similarity: cosine of both questions' vectors.
    """

    key: bytes
    question: str
    similarity: float


@dataclass(frozen=True, slots=True)
class NewVector:
    """A question to be found again. ``vector`` has 256 numbers and unit length; ``signature`` is that of its words."""

    tenant_id: UUID
    partition: bytes
    embedder: str
    key: bytes
    question: str
    vector: Sequence[float]
    signature: bytes
    ttl_s: float


async def why_off(engine: AsyncEngine) -> str | None:
    """Return why this database keeps no vectors, for people; None if it does. Raises what the driver raises."""
    [row] = await fetch(engine, "semantic_state", {})
    if row.there:
        return None
    return _OFF if row.made else _OFFERED if row.offered else _NOT_OFFERED


async def make_vectors(engine: AsyncEngine) -> str | None:
    """Make the table of vectors, as the schema's owner, if it can be had and is not there; return why it can't be had."""
    async with engine.begin() as connection:
        reason: str | None = (await connection.execute(_MAKE)).scalar_one()
        return reason


async def nearest(
    engine: AsyncEngine,
    tenant: UUID,
    partition: bytes,
    embedder: str,
    vector: Sequence[float],
    signature: bytes,
    most: int,
) -> list[Near]:
    """Return questions of a partition that may mean the same, nearest first.

    Args:
        engine: connections of the API or a worker.
        tenant: whose.
        partition: among which.
        embedder: who made the vectors.
        vector: of the question.
        signature: of its words.
        most: so many by their vectors, and so many by their words.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: what the driver raises. Without a table, one of
            `NO_VECTORS`.
    """
    parameters = {
        "tenant": tenant, "partition": partition, "embedder": embedder, "vector": vector,
        "signature": signature, "most": most,
    }  # fmt: skip
    rows = await fetch(engine, "semantic_near", parameters)
    return [Near(bytes(row.cache_key), row.question, row.similarity) for row in rows]


async def put_vectors(engine: AsyncEngine, vectors: Sequence[NewVector]) -> None:
    """Keep vectors in one statement, as a worker; of several for one key the last. Raises what the driver raises."""
    last = {(each.tenant_id, each.partition, each.embedder, each.key): each for each in vectors}.values()
    parameters = {
        "tenant_id": [each.tenant_id for each in last],
        "partition": [each.partition for each in last],
        "embedder": [each.embedder for each in last],
        "cache_key": [each.key for each in last],
        "question": [each.question for each in last],
        "vector": [orjson.dumps(list(each.vector)).decode() for each in last],
        "signature": [each.signature for each in last],
        "ttl_s": [each.ttl_s for each in last],
    }
    await fetch(engine, "semantic_put", parameters)


async def forget_vectors(
    engine: AsyncEngine, tenant: UUID, partition: bytes, embedder: str, keys: Sequence[bytes]
) -> None:
    """Delete vectors whose answers are gone. Raises what the driver raises."""
    parameters = {"tenant": tenant, "partition": partition, "embedder": embedder, "cache_key": list(keys)}
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant])
        await connection.execute(statement("semantic_forget"), parameters)


async def forget_tenant(engine: AsyncEngine, tenant: UUID) -> None:
    """Delete all questions of a tenant, and what shadow mode recorded of them. Raises what the driver raises."""
    async with engine.begin() as connection:
        await see_tenants(connection, [tenant])
        await connection.execute(delete(semantic_shadow).where(semantic_shadow.c.tenant_id == tenant))
        if (await connection.execute(_THERE)).scalar_one():
            await connection.execute(_FORGET_ALL, {"tenant": tenant})


async def count_vectors(engine: AsyncEngine, tenant: UUID) -> int | None:
    """Return how many questions of a tenant can be found; None where no vectors are kept."""
    async with engine.connect() as connection:
        if not (await connection.execute(_THERE)).scalar_one():
            return None
        await see_tenants(connection, [tenant])
        return int((await connection.execute(_COUNT, {"tenant": tenant})).scalar_one())


async def retire_semantic(
    engine: AsyncEngine, *, cap: int, shadows: int, keep_shadows: timedelta, most: int = 500
) -> int:
    """Delete one small batch of what is over or too much, as a worker; return how many rows of one kind went, 0 when all is well.

    Args:
        engine: a worker's connections.
        cap: a tenant keeps so many vectors.
        shadows: … and so many records of shadow mode.
        keep_shadows: a record is kept for so long.
        most: rows of a kind in one batch.
    """
    async with engine.begin() as connection:
        shadow = {"before": datetime.now(UTC) - keep_shadows, "cap": shadows, "most": most}
        gone = [(await connection.execute(statement("shadow_retire"), shadow)).rowcount]
        if (await connection.execute(_THERE)).scalar_one():
            gone.append((await connection.execute(statement("semantic_retire"), {"cap": cap, "most": most})).rowcount)
        return max(gone)
