"""Concurrency keys that were forgotten: places that nobody filled, and keys that nobody uses any more."""

from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.entering import let_in
from core.store.statements import statement


async def let_in_forgotten(engine: AsyncEngine, most: int = 500) -> dict[str, int]:
    """Let held-back jobs in whose key has room; return how many each lane got.

    Commits do this themselves. What remains is rare: a cancel was broken off after it kept a job from its turn, or a worker of
    an earlier version, which knows no keys, ended a job.
    """
    async with engine.begin() as connection:
        keys = (await connection.execute(statement("forgotten"), {"most": most})).all()
        return await let_in(connection, left=keys)


async def forget_keys(engine: AsyncEngine, most: int = 1000) -> int:
    """Delete keys that had no job for a day; return how many went."""
    async with engine.begin() as connection:
        gone: int = (await connection.execute(statement("forget_keys"), {"most": most})).scalar_one()
        return gone
