"""The log of webhook deliveries, as the API sees it: always one tenant's. What sends them is ``core.store.deliveries``."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import as_tenant
from core.store.webhook_endpoints import Endpoint
from core.tables import webhook_deliveries, webhook_endpoints, webhook_events

_LAST_ID: Final = UUID(int=2**128 - 1)
_delivery = webhook_deliveries.c
_event = webhook_events.c
_endpoint = webhook_endpoints.c


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


class DeliveryLog:
    """Statements on one tenant's deliveries. They raise what the database raises."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
        """One delivery."""
        async with as_tenant(self._engine, tenant_id) as connection:
            return await _delivery_or_none(connection, tenant_id, delivery_id)

    async def page(
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
        async with as_tenant(self._engine, tenant_id) as connection:
            return [Delivery(**row) for row in (await connection.execute(page)).mappings()]

    async def redeliver(self, tenant_id: UUID, delivery_id: UUID, new_id: UUID) -> Delivery | None:
        """Send the event again, under the same webhook-id.

        A delivery that waits for its next try is tried now; one that ended gets a successor, `new_id`, so that the log
        keeps both. None when there is no such delivery.

        Raises:
            NotRedeliverable: when it is being sent now, or its endpoint is off or deleted.
        """
        async with as_tenant(self._engine, tenant_id) as connection:
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
        async with as_tenant(self._engine, tenant_id) as connection:
            await connection.execute(insert(webhook_events).values(event))
            await connection.execute(insert(webhook_deliveries).values(**ids, **first, url=endpoint.url))

    async def cancel_test(self, tenant_id: UUID, delivery_id: UUID) -> None:
        """Take a test back that nobody has begun to send."""
        mine = (_delivery.tenant_id == tenant_id) & (_delivery.id == delivery_id) & (_delivery.status == "pending")
        async with as_tenant(self._engine, tenant_id) as connection:
            give_up = {"status": "cancelled", "next_try_at": None, "last_error": "not_sent_in_time"}
            await connection.execute(update(webhook_deliveries).where(mine).values(give_up))


def _deliveries(tenant_id: UUID) -> Select[Any]:
    own = [_delivery[name] for name in Delivery.__slots__ if name in _delivery]
    joined = webhook_deliveries.join(webhook_events, _event.id == _delivery.event_id)
    columns = (*own, _event.type.label("event_type"), _event.job_id, _event.group_id)
    return select(*columns).select_from(joined).where(_delivery.tenant_id == tenant_id)


async def _delivery_or_none(connection: AsyncConnection, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
    row = (await connection.execute(_deliveries(tenant_id).where(_delivery.id == delivery_id))).mappings().first()
    return Delivery(**row) if row is not None else None


async def _current_url(connection: AsyncConnection, tenant_id: UUID, delivery: Delivery) -> str:
    """Return where the event would go today.

    Raises:
        NotRedeliverable: when its endpoint is off or deleted.
    """
    if delivery.endpoint_id is None:
        return delivery.url
    receiver = select(_endpoint.url, _endpoint.enabled).where(
        _endpoint.tenant_id == tenant_id, _endpoint.id == delivery.endpoint_id
    )
    endpoint = (await connection.execute(receiver)).first()
    if endpoint is None:
        raise NotRedeliverable("Its endpoint was deleted.")
    if not endpoint.enabled:
        raise NotRedeliverable("Its endpoint is disabled.")
    url: str = endpoint.url
    return url
