"""Registered webhook endpoints, as the API sees them: always one tenant's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import as_tenant
from core.tables import webhook_deliveries, webhook_endpoints

_OVERLAP: Final = timedelta(hours=24)
_LAST_ID: Final = UUID(int=2**128 - 1)
_endpoint = webhook_endpoints.c
_delivery = webhook_deliveries.c


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registered receiver. Its secrets stay in the database."""

    id: UUID
    name: str
    url: str
    event_types: list[str]
    enabled: bool
    disabled_reason: str | None
    secret_hint: str
    created_at: datetime


class WebhookEndpoints:
    """Statements on one tenant's endpoints. They raise what the database raises."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(
        self,
        tenant_id: UUID,
        endpoint_id: UUID,
        *,
        name: str,
        url: str,
        event_types: Sequence[str],
        enabled: bool,
        secret: bytes,
        hint: str,
    ) -> Endpoint:
        """Register a receiver; `secret` is sealed."""
        values = {
            "id": endpoint_id,
            "tenant_id": tenant_id,
            "name": name,
            "url": url,
            "event_types": list(event_types),
            "enabled": enabled,
            "disabled_reason": None if enabled else "disabled",
            "secret_encrypted": secret,
            "secret_hint": hint,
        }
        async with as_tenant(self._engine, tenant_id) as connection:
            made = await connection.execute(insert(webhook_endpoints).values(values).returning(*_columns()))
            return Endpoint(**made.mappings().one())

    async def get(self, tenant_id: UUID, endpoint_id: UUID) -> Endpoint | None:
        """One receiver."""
        async with as_tenant(self._engine, tenant_id) as connection:
            return await _one_endpoint(connection, _endpoints(tenant_id).where(_endpoint.id == endpoint_id))

    async def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Endpoint]:
        """A page of receivers, newest first, older than `after`."""
        page = (
            _endpoints(tenant_id).where(_endpoint.id < (after or _LAST_ID)).order_by(_endpoint.id.desc()).limit(limit)
        )
        async with as_tenant(self._engine, tenant_id) as connection:
            return [Endpoint(**row) for row in (await connection.execute(page)).mappings()]

    async def change(self, tenant_id: UUID, endpoint_id: UUID, changes: Mapping[str, Any]) -> Endpoint | None:
        """Change `name`, `url`, `event_types` or `enabled`. A new URL holds for what waits; switching off cancels it."""
        values = dict(changes)
        if "enabled" in values:
            values["disabled_reason"] = None if values["enabled"] else "disabled"
        async with as_tenant(self._engine, tenant_id) as connection:
            change = (
                update(webhook_endpoints).where(*_mine(tenant_id, endpoint_id)).values(values or {"id": endpoint_id})
            )
            changed = await _one_endpoint(connection, change.returning(*_columns()))
            if changed and "url" in changes:
                await connection.execute(_waiting(tenant_id, endpoint_id).values(url=changed.url))
            if changed and not changed.enabled:
                await _cancel_waiting(connection, tenant_id, endpoint_id, "endpoint_disabled")
            return changed

    async def remove(self, tenant_id: UUID, endpoint_id: UUID) -> bool:
        """Forget a receiver and cancel what waits for it; the log stays."""
        async with as_tenant(self._engine, tenant_id) as connection:
            removed = await connection.execute(
                webhook_endpoints.delete().where(*_mine(tenant_id, endpoint_id)).returning(_endpoint.id)
            )
            if removed.first() is None:
                return False
            await _cancel_waiting(connection, tenant_id, endpoint_id, "endpoint_deleted")
            return True

    async def rotate_secret(
        self, tenant_id: UUID, endpoint_id: UUID, *, secret: bytes, hint: str, keep_old: bool
    ) -> Endpoint | None:
        """Sign with a new sealed secret; with `keep_old` also with the old one for 24 hours."""
        values: dict[str, Any] = {
            "secret_encrypted": secret,
            "secret_hint": hint,
            "old_secret_encrypted": _endpoint.secret_encrypted if keep_old else None,
            "old_secret_until": func.now() + _OVERLAP if keep_old else None,
        }
        rotate = update(webhook_endpoints).where(*_mine(tenant_id, endpoint_id)).values(values)
        async with as_tenant(self._engine, tenant_id) as connection:
            return await _one_endpoint(connection, rotate.returning(*_columns()))


def _columns() -> list[ColumnElement[Any]]:
    return [_endpoint[name] for name in Endpoint.__slots__]


def _endpoints(tenant_id: UUID) -> Select[Any]:
    return select(*_columns()).where(_endpoint.tenant_id == tenant_id)


def _mine(tenant_id: UUID, endpoint_id: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _endpoint.tenant_id == tenant_id, _endpoint.id == endpoint_id


async def _one_endpoint(connection: AsyncConnection, statement: Executable) -> Endpoint | None:
    row = (await connection.execute(statement)).mappings().first()
    return Endpoint(**row) if row is not None else None


def _waiting(tenant_id: UUID, endpoint_id: UUID) -> Any:
    return update(webhook_deliveries).where(
        _delivery.tenant_id == tenant_id, _delivery.endpoint_id == endpoint_id, _delivery.status == "pending"
    )


async def _cancel_waiting(connection: AsyncConnection, tenant_id: UUID, endpoint_id: UUID, reason: str) -> None:
    await connection.execute(
        _waiting(tenant_id, endpoint_id).values(status="cancelled", next_try_at=None, last_error=reason)
    )
