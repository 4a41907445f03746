"""Tenants' weights and limits, for the command line: as the schema's owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from core.store.keys import LIMITS
from core.store.statements import statement
from core.tables import api_keys, tenants
from policies.limits import Limits

#: Beyond these the turns of other tenants would come so rarely that it looks like never.
LEAST_WEIGHT: Final = Decimal("0.001")
MOST_WEIGHT: Final = Decimal(1000)


@dataclass(slots=True, frozen=True)
class TenantInfo:
    """What may be shown of a tenant."""

    id: UUID
    name: str
    weight: Decimal
    limits: Limits
    created_at: datetime


async def list_tenants(engine: AsyncEngine) -> list[TenantInfo]:
    """Return all tenants by name."""
    async with engine.connect() as connection:
        rows = await connection.execute(select(tenants).order_by(tenants.c.name))
        return [
            TenantInfo(row.id, row.name, row.weight, Limits(*(getattr(row, name) for name in LIMITS)), row.created_at)
            for row in rows
        ]


async def set_tenant(engine: AsyncEngine, name: str, changes: Mapping[str, Any]) -> Sequence[bytes] | None:
    """Change a tenant; return the SHA-256 of its keys, whose holders the APIs have to look up anew. None: no such tenant.

    A new weight holds for the jobs that wait already, too: their turns move.

    Args:
        engine: connections as the schema's owner.
        name: the tenant's name.
        changes: `weight`, a Decimal from 0.001 to 1000, and members of `Limits`; None lifts a limit.

    Raises:
        ValueError: for a weight out of range, an unknown limit, or nothing to change.
    """
    allowed = {"weight", *LIMITS}
    if not changes or not set(changes) <= allowed:
        raise ValueError(f"nothing to change: choose from {', '.join(sorted(allowed))}")
    weight = Decimal(changes.get("weight", 1))
    if not (weight.is_finite() and LEAST_WEIGHT <= weight <= MOST_WEIGHT):
        raise ValueError(f"a weight is a number from {LEAST_WEIGHT} to {MOST_WEIGHT}")
    async with engine.begin() as connection:
        tenant = (await connection.execute(select(tenants).where(tenants.c.name == name).with_for_update())).first()
        if tenant is None:
            return None
        await connection.execute(update(tenants).where(tenants.c.id == tenant.id).values(**changes))
        if "weight" in changes and weight != tenant.weight:
            # In the order in which everybody locks: places in the queue, then turns.
            moved = {"tenant_id": tenant.id, "ratio": float(tenant.weight / weight)}
            await connection.execute(statement("reweigh_ready"), moved)
            await connection.execute(statement("reweigh_turns"), moved)
        return list(await connection.scalars(select(api_keys.c.token_hash).where(api_keys.c.tenant_id == tenant.id)))
