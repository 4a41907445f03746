"""Webhook endpoints and the delivery log, as the API sees them: always one tenant's."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Select, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import see_tenants
from core.tables import webhook_deliveries, webhook_endpoints, webhook_events

_OVERLAP = timedelta(hours=24)
_LAST_ID = UUID(int=2**128 - 1)
_endpoint = webhook_endpoints.c
_delivery = webhook_deliveries.c
_event = webhook_events.c


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


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one receiver."""

    id: UUID
    event_id: UUID
    event_type: str
    job_id: UUID | None
    group_id: UUID | None
    endpoint_id: UUID | None
    url: str
    status: str
    tries: int
    test: bool
    next_try_at: datetime | None
    last_status: int | None
    last_error: str | None
    last_duration_ms: float | None
    created_at: datetime
    delivered_at: datetime | None


class NotRedeliverable(Exception):
    """The delivery can't be sent again now; the text says why."""


class WebhookStore:
    """Statements on one tenant's webhooks. Raises what the database raises."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add_endpoint(
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
        async with self._as(tenant_id) as connection:
            made = await connection.execute(
                insert(webhook_endpoints).values(values).returning(*_columns(Endpoint, _endpoint))
            )
            return Endpoint(**made.mappings().one())

    async def endpoint(self, tenant_id: UUID, endpoint_id: UUID) -> Endpoint | None:
        """One receiver."""
        async with self._as(tenant_id) as connection:
            return await _one_endpoint(connection, _endpoints(tenant_id).where(_endpoint.id == endpoint_id))

    async def endpoints(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Endpoint]:
        """A page of receivers, newest first, older than `after`."""
        page = (
            _endpoints(tenant_id).where(_endpoint.id < (after or _LAST_ID)).order_by(_endpoint.id.desc()).limit(limit)
        )
        async with self._as(tenant_id) as connection:
            return [Endpoint(**row) for row in (await connection.execute(page)).mappings()]

    async def change_endpoint(self, tenant_id: UUID, endpoint_id: UUID, changes: Mapping[str, Any]) -> Endpoint | None:
        """Change `name`, `url`, `event_types` or `enabled`. A new URL holds for what waits; switching off cancels it."""
        values = dict(changes)
        if "enabled" in values:
            values["disabled_reason"] = None if values["enabled"] else "disabled"
        async with self._as(tenant_id) as connection:
            change = (
                update(webhook_endpoints).where(*_mine(tenant_id, endpoint_id)).values(values or {"id": endpoint_id})
            )
            changed = await _one_endpoint(connection, change.returning(*_columns(Endpoint, _endpoint)))
            if changed and "url" in changes:
                await connection.execute(_waiting(tenant_id, endpoint_id).values(url=changed.url))
            if changed and not changed.enabled:
                await _cancel_waiting(connection, tenant_id, endpoint_id, "endpoint_disabled")
            return changed

    async def remove_endpoint(self, tenant_id: UUID, endpoint_id: UUID) -> bool:
        """Forget a receiver and cancel what waits for it; the log stays."""
        async with self._as(tenant_id) as connection:
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
        async with self._as(tenant_id) as connection:
            return await _one_endpoint(connection, rotate.returning(*_columns(Endpoint, _endpoint)))

    async def add_test(
        self,
        tenant_id: UUID,
        endpoint: Endpoint,
        *,
        event_id: UUID,
        delivery_id: UUID,
        event_type: str,
        payload: str,
        traceparent: str | None,
    ) -> None:
        """Queue a delivery that is tried once, before all others of its endpoint."""
        event = {
            "id": event_id,
            "tenant_id": tenant_id,
            "type": event_type,
            "payload": payload,
            "traceparent": traceparent,
        }
        ids = {"id": delivery_id, "event_id": event_id, "tenant_id": tenant_id, "endpoint_id": endpoint.id}
        first = {"test": True, "next_try_at": text("'epoch'::timestamptz")}
        async with self._as(tenant_id) as connection:
            await connection.execute(insert(webhook_events).values(event))
            await connection.execute(insert(webhook_deliveries).values(**ids, **first, url=endpoint.url))

    async def cancel_test(self, tenant_id: UUID, delivery_id: UUID) -> None:
        """Take a test back that nobody has begun to send."""
        mine = (_delivery.tenant_id == tenant_id) & (_delivery.id == delivery_id) & (_delivery.status == "pending")
        async with self._as(tenant_id) as connection:
            give_up = {"status": "cancelled", "next_try_at": None, "last_error": "not_sent_in_time"}
            await connection.execute(update(webhook_deliveries).where(mine).values(give_up))

    async def delivery(self, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
        """One delivery."""
        async with self._as(tenant_id) as connection:
            return await _delivery_or_none(connection, tenant_id, delivery_id)

    async def deliveries(
        self,
        tenant_id: UUID,
        *,
        after: UUID | None,
        limit: int,
        job_id: UUID | None = None,
        endpoint_id: UUID | None = None,
        status: str | None = None,
    ) -> list[Delivery]:
        """A page of the log, newest first, older than `after`."""
        page = (
            _deliveries(tenant_id).where(_delivery.id < (after or _LAST_ID)).order_by(_delivery.id.desc()).limit(limit)
        )
        if job_id:
            page = page.where(_event.job_id == job_id)
        if endpoint_id:
            page = page.where(_delivery.endpoint_id == endpoint_id)
        if status:
            page = page.where(_delivery.status == status)
        async with self._as(tenant_id) as connection:
            return [Delivery(**row) for row in (await connection.execute(page)).mappings()]

    async def redeliver(self, tenant_id: UUID, delivery_id: UUID, new_id: UUID) -> Delivery | None:
        """Send the event again, under the same webhook-id.

        A delivery that waits for its next try is tried now; one that ended gets a successor, `new_id`, so that the log
        keeps both. None when there is no such delivery. Raises NotRedeliverable.
        """
        async with self._as(tenant_id) as connection:
            found = await _delivery_or_none(connection, tenant_id, delivery_id)
            if found is None:
                return None
            url = await _current_url(connection, tenant_id, found)
            moved = await connection.execute(
                update(webhook_deliveries)
                .where(_delivery.tenant_id == tenant_id, _delivery.id == delivery_id, _delivery.status == "pending")
                .values(next_try_at=func.now())
                .returning(_delivery.id)
            )
            if moved.first() is None:
                if found.status in ("pending", "sending"):
                    raise NotRedeliverable("It is being sent at this moment.")
                copy = {
                    "id": new_id,
                    "event_id": found.event_id,
                    "tenant_id": tenant_id,
                    "endpoint_id": found.endpoint_id,
                    "url": url,
                }
                await connection.execute(insert(webhook_deliveries).values(copy))
                delivery_id = new_id
            return await _delivery_or_none(connection, tenant_id, delivery_id)

    @asynccontextmanager
    async def _as(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        async with self._engine.begin() as connection:
            await see_tenants(connection, [tenant_id])
            yield connection


def _columns(kind: type[Endpoint] | type[Delivery], table: Any) -> list[ColumnElement[Any]]:
    return [table[name] for name in kind.__slots__]


def _endpoints(tenant_id: UUID) -> Select[Any]:
    return select(*_columns(Endpoint, _endpoint)).where(_endpoint.tenant_id == tenant_id)


def _deliveries(tenant_id: UUID) -> Select[Any]:
    own = [_delivery[name] for name in Delivery.__slots__ if name in _delivery]
    joined = webhook_deliveries.join(webhook_events, _event.id == _delivery.event_id)
    columns = (*own, _event.type.label("event_type"), _event.job_id, _event.group_id)
    return select(*columns).select_from(joined).where(_delivery.tenant_id == tenant_id)


def _mine(tenant_id: UUID, endpoint_id: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _endpoint.tenant_id == tenant_id, _endpoint.id == endpoint_id


async def _one_endpoint(connection: AsyncConnection, statement: Executable) -> Endpoint | None:
    row = (await connection.execute(statement)).mappings().first()
    return Endpoint(**row) if row is not None else None


async def _delivery_or_none(connection: AsyncConnection, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
    row = (await connection.execute(_deliveries(tenant_id).where(_delivery.id == delivery_id))).mappings().first()
    return Delivery(**row) if row is not None else None


async def _current_url(connection: AsyncConnection, tenant_id: UUID, delivery: Delivery) -> str:
    """Where the event would go today. Raises NotRedeliverable when its endpoint is off or deleted."""
    if delivery.endpoint_id is None:
        return delivery.url
    endpoint = await _one_endpoint(connection, _endpoints(tenant_id).where(_endpoint.id == delivery.endpoint_id))
    if endpoint is None:
        raise NotRedeliverable("Its endpoint was deleted.")
    if not endpoint.enabled:
        raise NotRedeliverable("Its endpoint is disabled.")
    return endpoint.url


def _waiting(tenant_id: UUID, endpoint_id: UUID) -> Any:
    return update(webhook_deliveries).where(
        _delivery.tenant_id == tenant_id, _delivery.endpoint_id == endpoint_id, _delivery.status == "pending"
    )


async def _cancel_waiting(connection: AsyncConnection, tenant_id: UUID, endpoint_id: UUID, reason: str) -> None:
    await connection.execute(
        _waiting(tenant_id, endpoint_id).values(status="cancelled", next_try_at=None, last_error=reason)
    )
