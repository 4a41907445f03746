"""What a tenant used, from the books of the day that every finished job is entered in."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import see_tenants
from core.tables import api_keys, tenants, usage_days

GROUPS: Final = ("day", "key", "model", "endpoint", "lane", "tenant")
_TALLIES: Final = (
    "jobs",
    "failed",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "saved_tokens",
    "unpriced_jobs",
    "cost_usd",
)
_NO_KEY: Final = UUID(int=0)
_COLUMNS: Final[Mapping[str, ColumnElement[Any]]] = {
    "day": usage_days.c.day,
    "key": usage_days.c.key_id,
    "model": usage_days.c.model,
    "endpoint": usage_days.c.endpoint,
    "lane": usage_days.c.lane,
    "tenant": usage_days.c.tenant_id,
}
_MOST_ROWS: Final = 10_000


async def read_usage(
    engine: AsyncEngine,
    tenant: UUID | None,
    first: date,
    last: date,
    groups: Sequence[str],
    *,
    key: UUID | None = None,
    model: str | None = None,
) -> list[dict[str, Any]]:
    """Return sums over the days from `first` to `last`, both included, one row for each combination of `groups`.

    Args:
        engine: connections of the API or, to read of all tenants, of the schema's owner.
        tenant: whose usage; None for everybody's.
        first: a UTC day.
        last: a UTC day.
        groups: from `GROUPS`, in the order of the rows; none at all sums everything up.
        key: only of this key.
        model: only of this model.
    """
    by = [_COLUMNS[name].label(name) for name in groups]
    summed = [func.sum(usage_days.c[name]).label(name) for name in _TALLIES]
    query = select(*by, *summed).where(usage_days.c.day.between(first, last))
    if tenant is not None:
        query = query.where(usage_days.c.tenant_id == tenant)
    if key is not None:
        query = query.where(usage_days.c.key_id == key)
    if model is not None:
        query = query.where(usage_days.c.model == model)
    async with engine.connect() as connection:
        if tenant is not None:
            await see_tenants(connection, [tenant])
        rows = (await connection.execute(query.group_by(*by).order_by(*by).limit(_MOST_ROWS))).mappings().all()
    return [_told(row) for row in rows if row["jobs"] is not None]


def _told(row: Mapping[Any, Any]) -> dict[str, Any]:
    told = dict(row)
    told |= {name: int(row[name]) for name in _TALLIES if name != "cost_usd"}
    if told.get("key") == _NO_KEY:
        told["key"] = None
    return told


async def names(engine: AsyncEngine) -> dict[UUID, str]:
    """Return the names of tenants and what their keys begin with, by id; for the schema's owner."""
    async with engine.connect() as connection:
        named = {row.id: row.name for row in await connection.execute(select(tenants.c.id, tenants.c.name))}
        return named | {
            row.id: row.prefix for row in await connection.execute(select(api_keys.c.id, api_keys.c.prefix))
        }
