"""A database with a tenant, and lanes to send its webhooks with."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.secrets import ENDPOINT_WEBHOOK, TENANT_WEBHOOK, SecretBox, new_webhook_secret, secret_hint
from core.store.deliveries import DeliveryQueue
from core.store.delivery_log import Delivery, DeliveryLog
from core.store.webhook_endpoints import Endpoint, WebhookEndpoints
from core.tables import tenants, webhook_deliveries, webhook_events
from policies.addresses import Openings
from workers.webhooks.lane import WebhookLane
from workers.webhooks.resolver import Lookup
from workers.webhooks.sender import Sender

SCHEDULE = (5.0, 300.0, 1800.0)
LOOPBACK = Openings.parse(["127.0.0.0/8"])


class Pump:
    """What the engine does for a lane: claim whenever there may be work and room."""

    def __init__(self, lane: WebhookLane, room: int = 1024) -> None:
        self.lane = lane
        self._room = room

    async def once(self) -> int:
        """One claim; waits until everything claimed is sent and recorded."""
        claimed = await self.lane.claim_and_send(self._room)
        await self.settled()
        return claimed

    async def settled(self) -> None:
        async with asyncio.timeout(30):
            while self.lane.in_flight:
                await asyncio.wait([*self.lane._sending, *([self.lane._recording] if self.lane._recording else [])])

    async def forever(self) -> None:
        """Like the engine, with a sweep every 50 ms instead of every second."""
        while True:
            claimed = await self.lane.claim_and_send(self._room - self.lane.in_flight)
            if not claimed:
                await asyncio.sleep(0.05)


@dataclass
class World:
    """A tenant and everything that belongs to its webhooks."""

    owner: AsyncEngine
    worker: AsyncEngine
    api: AsyncEngine
    secret_key: str
    tenant_id: UUID = field(default_factory=ids.new_id)
    tenant_secret: str = field(default_factory=new_webhook_secret)
    secrets: dict[UUID, str] = field(default_factory=dict)
    lanes: list[WebhookLane] = field(default_factory=list)

    @property
    def box(self) -> SecretBox:
        return SecretBox.from_setting(self.secret_key)

    @property
    def endpoints(self) -> WebhookEndpoints:
        return WebhookEndpoints(self.api)

    @property
    def log(self) -> DeliveryLog:
        return DeliveryLog(self.api)

    def lane(
        self, *, lookup: Lookup | None = None, timeout_s: float = 5.0, lease_s: float = 30.0, **options: Any
    ) -> WebhookLane:
        queue = DeliveryQueue(self.worker, ids.new_id(), lease_s=lease_s, per_target=32)
        sender = Sender(LOOPBACK, timeout_s=timeout_s, lookup=lookup)
        lane = WebhookLane(queue, sender, self.box, per_target=32, schedule_s=SCHEDULE, **options)
        self.lanes.append(lane)
        return lane

    async def endpoint(self, url: str) -> Endpoint:
        endpoint_id, secret = ids.new_id(), new_webhook_secret()
        self.secrets[endpoint_id] = secret
        sealed = self.box.seal(secret, tenant_id=self.tenant_id, purpose=ENDPOINT_WEBHOOK)
        return await self.endpoints.add(
            self.tenant_id,
            endpoint_id,
            name="test",
            url=url,
            event_types=["job.succeeded"],
            enabled=True,
            secret=sealed,
            hint=secret_hint(secret),
        )

    async def event(
        self, endpoint: Endpoint | None, *, url: str = "", count: int = 1, payload: str = '{"a": "ä"}'
    ) -> list[UUID]:
        """Events with one delivery each, as the end of a job makes them; the deliveries' ids."""
        url = endpoint.url if endpoint else url
        events = [
            {
                "id": ids.new_id(),
                "tenant_id": self.tenant_id,
                "type": "job.succeeded",
                "payload": payload,
                "traceparent": TRACE,
            }
            for _ in range(count)
        ]
        deliveries = [
            {
                "id": ids.new_id(),
                "event_id": event["id"],
                "tenant_id": self.tenant_id,
                "endpoint_id": endpoint.id if endpoint else None,
                "url": url,
            }
            for event in events
        ]
        async with self.owner.begin() as connection:
            await connection.execute(insert(webhook_events), events)
            await connection.execute(insert(webhook_deliveries), deliveries)
        return [delivery["id"] for delivery in deliveries]  # type: ignore[misc]

    async def seen(self, delivery_id: UUID) -> Delivery:
        delivery = await self.log.get(self.tenant_id, delivery_id)
        assert delivery is not None
        return delivery

    async def statuses(self) -> dict[str, int]:
        async with self.owner.connect() as connection:
            rows = await connection.execute(
                text("SELECT status, count(*) FROM webhook_deliveries WHERE tenant_id = :t GROUP BY status"),
                {"t": self.tenant_id},
            )
            return {row[0]: row[1] for row in rows}

    async def until_statuses(self, wanted: dict[str, int]) -> None:
        """Wait until the deliveries of the tenant stand like this; fails loudly when they never do."""
        async with asyncio.timeout(20):
            while await self.statuses() != wanted:  # noqa: ASYNC110 - another process changes them
                await asyncio.sleep(0.02)

    async def sql(self, statement: str, **parameters: Any) -> None:
        async with self.owner.begin() as connection:
            await connection.execute(text(statement), parameters)

    async def make_due(self) -> None:
        await self.sql("UPDATE webhook_deliveries SET next_try_at = now() WHERE status = 'pending'")

    async def end_leases(self) -> None:
        await self.sql("UPDATE webhook_deliveries SET lease_until = now() - interval '1 s' WHERE status = 'sending'")


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def world(
    owner: AsyncEngine, worker_engine: AsyncEngine, api_engine: AsyncEngine, secret_key: str
) -> AsyncIterator[World]:
    made = World(owner, worker_engine, api_engine, secret_key)
    sealed = made.box.seal(made.tenant_secret, tenant_id=made.tenant_id, purpose=TENANT_WEBHOOK)
    async with owner.begin() as connection:
        await connection.execute(
            insert(tenants).values(id=made.tenant_id, name=str(made.tenant_id), webhook_secret_encrypted=sealed)
        )
    yield made
    for lane in made.lanes:
        await lane.drain(0)


@pytest.fixture
async def pumping() -> AsyncIterator[Callable[[WebhookLane], Pump]]:
    """Keeps lanes going in the background until the test ends."""
    tasks: list[asyncio.Task[None]] = []

    def start(lane: WebhookLane) -> Pump:
        pump = Pump(lane)
        tasks.append(asyncio.create_task(pump.forever()))
        return pump

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
