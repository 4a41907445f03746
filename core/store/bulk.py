"""Accepting many jobs as one group: all of them in one transaction, or none."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import as_tenant, see_tenants
from core.store.accept import Accepted, NewJob, insert_jobs
from core.store.failures import DATABASE_ERRORS, StoreUnavailable, is_crossed, is_outage
from core.store.statements import statement

_NEW_GROUP = text(
    "INSERT INTO groups (id, tenant_id, total, remaining) VALUES (:id, :tenant_id, :total, :total) RETURNING created_at"
)
_FIND_GROUP = text("SELECT created_at FROM groups WHERE id = :id")


async def accept_group(
    engine: AsyncEngine,
    tenant_id: UUID,
    group_id: UUID,
    jobs: Sequence[NewJob],
    *,
    idempotency_key: str | None = None,
    fingerprint: bytes = b"",
) -> Accepted:
    """Store ``jobs`` (whose ``group_id`` is set) and their group; a taken idempotency key stores nothing.

    Raises:
        StoreUnavailable: nothing was stored, or nobody can tell: try again with the same idempotency key.
    """
    try:
        return await _store(engine, tenant_id, group_id, jobs, idempotency_key, fingerprint)
    except DATABASE_ERRORS as error:
        if is_crossed(error):
            return await _store(engine, tenant_id, group_id, jobs, idempotency_key, fingerprint)
        if is_outage(error):
            found = await _find(engine, tenant_id, group_id)
            if found is not None:
                return found
            raise StoreUnavailable("Postgres is not available") from error
        raise


async def _store(
    engine: AsyncEngine, tenant_id: UUID, group_id: UUID, jobs: Sequence[NewJob], key: str | None, fingerprint: bytes
) -> Accepted:
    async with as_tenant(engine, tenant_id) as connection:
        if key is not None:
            earlier = await _take_key(connection, tenant_id, group_id, key, fingerprint)
            if earlier is not None:
                return earlier
        values = {"id": group_id, "tenant_id": tenant_id, "total": len(jobs)}
        created_at = (await connection.execute(_NEW_GROUP, values)).scalar_one()
        await insert_jobs(connection, sorted(jobs, key=lambda job: job.id))
    return Accepted(created_at=created_at)


async def _take_key(
    connection: AsyncConnection, tenant_id: UUID, group_id: UUID, key: str, fingerprint: bytes
) -> Accepted | None:
    arrays = {"tenant_id": [tenant_id], "key": [key], "fingerprint": [fingerprint], "object_id": [group_id]}
    if (await connection.execute(statement("take_keys"), arrays)).first() is not None:
        return None
    row = (await connection.execute(statement("read_keys"), {"tenant_id": [tenant_id], "key": [key]})).one()
    return Accepted(original=row.object_id) if row.fingerprint == fingerprint else Accepted(conflict=True)


async def _find(engine: AsyncEngine, tenant_id: UUID, group_id: UUID) -> Accepted | None:
    """Settle an unknown outcome: the group is there with all its jobs, or none of it is."""
    try:
        async with engine.connect() as connection:
            await see_tenants(connection, [tenant_id])
            row = (await connection.execute(_FIND_GROUP, {"id": group_id})).first()
    except DATABASE_ERRORS:
        return None
    return None if row is None else Accepted(created_at=row.created_at)
