"""Letting jobs into the queue at the end of a transaction, as far as their concurrency keys allow.

A job with a concurrency key first stands in ``held_back``. Whoever brings such jobs there, or takes jobs of a key out of the
queue, locks the key last of all and then lets in as many as its limit leaves room for: in the same commit, so that no crash can
lose a place or a turn. Transactions that touch several things do it in one order, so that none waits for another crosswise:

1. idempotency keys, by (tenant, key)
2. places in ``ready``, ``waiting`` and ``held_back``, by job, or only those that nobody has locked (SKIP LOCKED)
3. jobs, by id
4. rows of ``usage_days``, then of ``cache_hours``, by their keys
5. groups, by id
6. concurrency keys, by (tenant, key)
7. turns, by (lane, tenant)

Jobs that end with the answer of another one (``cache_coalesce.sql``) come after the books of that one, whose commit holds their
places; where two such commits wait crosswise for each other's books, one of them is run again.
"""

from collections.abc import Iterable
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from core.store.statements import statement

#: How the concurrency keys of shared calls begin (`core.cache.planning`). There is one for each question that is asked.
FLIGHT: Final = "coatcheck flight "


class Moved(Protocol):
    """A job that moved: a ``NewJob`` or the row of a statement."""

    @property
    def id(self) -> UUID: ...
    @property
    def tenant_id(self) -> UUID: ...
    @property
    def concurrency_key(self) -> str | None: ...
    @property
    def concurrency_limit(self) -> int | None: ...


async def let_in(
    connection: AsyncConnection, entering: Iterable[Moved] = (), left: Iterable[Moved] = ()
) -> dict[str, int]:
    """Let ``entering`` into the queue, and jobs that were held back into the places of those that ``left`` it.

    To be called once in a transaction, after everything else that locks rows. Of ``entering`` those with a concurrency key stand
    in ``held_back`` already.

    Returns:
        How many jobs each lane got; those held back are not among them.
    """
    entering, left = list(entering), list(left)
    free = sorted(job.id for job in entering if job.concurrency_key is None)
    # The newest job of a key names its limit, so it comes last and stays.
    keyed = sorted((job for job in (*entering, *left) if job.concurrency_key is not None), key=lambda job: job.id)
    newest = {(job.tenant_id, job.concurrency_key): job for job in keyed}
    if not free and not newest:
        return {}
    keys = sorted(newest)
    arrays = {"tenant_id": [tenant for tenant, _ in keys], "key": [key for _, key in keys]}
    if keys:
        limits = {
            "max_active": [newest[key].concurrency_limit for key in keys],
            "named_by": [newest[key].id for key in keys],
        }
        await connection.execute(statement("lock_keys"), arrays | limits)
    rows = await connection.execute(statement("enter"), arrays | {"id": free})
    lanes = {row.lane: row.jobs for row in rows}
    landed = sorted(
        {(job.tenant_id, job.concurrency_key) for job in left if (job.concurrency_key or "").startswith(FLIGHT)}
    )
    if landed:
        # At once, or there would soon be a row for every question of the day.
        told = {"tenant_id": [tenant for tenant, _ in landed], "key": [key for _, key in landed]}
        await connection.execute(statement("forget_flights"), told)
    return lanes
