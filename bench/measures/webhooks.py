"""`webhooks`: deliveries per second of one worker to a receiver on this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import orjson
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import jobs
from bench.figures import Figure, Must
from bench.processes import Process
from bench.world import World, get_json
from core import ids
from core.database import connect
from core.secrets import ENDPOINT_WEBHOOK, new_webhook_secret, secret_hint
from core.store.webhook_endpoints import WebhookEndpoints
from core.tables import webhook_deliveries, webhook_events

_DONE = "SELECT NOT EXISTS (SELECT FROM webhook_deliveries WHERE status IN ('pending', 'sending'))"
_DELIVERED = text("SELECT extract(epoch FROM delivered_at) AS at FROM webhook_deliveries WHERE status = 'delivered'")
_SLICE = 1000


def measure(world: World) -> list[Figure]:
    """Deliver signed events of about 1 kB to one endpoint, then to eight."""
    figures = []
    for endpoints in (1, 8):
        rate, note = _rate(world, endpoints)
        must = Must("≥", 500) if endpoints == 1 else None
        name = "deliveries to one endpoint" if endpoints == 1 else f"deliveries to {endpoints} endpoints"
        figures.append(Figure("webhooks", name, rate, "/s", must, None, note))
    return figures


def _rate(world: World, endpoints: int) -> tuple[float, str]:
    count = world.sizes.deliveries
    world.say(f"{count:,} deliveries to {endpoints} endpoint{'s' if endpoints > 1 else ''}")
    jobs.empty(world)
    with _receiver(world) as url:
        secret = jobs.in_database(world, lambda engine: _fill(world, engine, url, endpoints, count))
        jobs.checkpoint(world)
        with world.worker(lanes="webhooks") as worker:
            jobs.wait_for(world, _DONE, 60)
            worker.kill()
        seen = get_json(f"{url}/seen?secret={quote(secret)}")
    moments = jobs.in_database(world, _delivered)
    finished = jobs.Finishes(moments)
    right = finished.count == count and seen["ids"] == count and seen["verified"] is True
    note = f"signed payloads of 1 kB; the receiver saw {seen['ids']} different ids, first signature verified: {seen['verified']}"
    return finished.rate() if right else float("nan"), note


async def _fill(world: World, engine: AsyncEngine, url: str, endpoints: int, count: int) -> str:
    assert world.tenant_id is not None
    tenant = world.tenant_id
    api = connect(world.settings, "coatcheck_api", pool_size=1, name="bench")
    targets, secrets = [], []
    for number in range(endpoints):
        endpoint_id, secret = ids.new_id(), new_webhook_secret()
        sealed = world.box.seal(secret, tenant_id=tenant, purpose=ENDPOINT_WEBHOOK)
        endpoint = await WebhookEndpoints(api).add(
            tenant, endpoint_id, name=f"bench-{number}", url=f"{url}/hook/{number}", event_types=["job.succeeded"],
            enabled=True, secret=sealed, hint=secret_hint(secret),
        )  # fmt: skip
        targets.append(endpoint)
        secrets.append(secret)
    await api.dispose()
    for start in range(0, count, _SLICE):
        numbers = range(start, min(count, start + _SLICE))
        events = [
            {"id": ids.new_id(), "tenant_id": tenant, "type": "job.succeeded", "payload": _payload(number)}
            for number in numbers
        ]
        deliveries = [
            {
                "id": ids.new_id(),
                "event_id": event["id"],
                "tenant_id": tenant,
                "endpoint_id": target.id,
                "url": target.url,
            }
            for event, target in zip(events, (targets[number % endpoints] for number in numbers), strict=True)
        ]
        async with engine.begin() as connection:
            await connection.execute(insert(webhook_events), events)
            await connection.execute(insert(webhook_deliveries), deliveries)
    return secrets[0]


def _payload(number: int) -> str:
    return orjson.dumps({"type": "job.succeeded", "object": "event", "data": jobs.chat_body(number)}).decode()


async def _delivered(engine: AsyncEngine) -> list[tuple[float, int]]:
    async with engine.connect() as connection:
        return sorted((float(row.at), 1) for row in await connection.execute(_DELIVERED))


@contextmanager
def _receiver(world: World) -> Iterator[str]:
    log = world.log(f"receiver-{ids.new_id().hex[-8:]}")
    told = re.compile(r"receiver ready (\S+)")
    with Process(["-m", "bench.receiver"], world.environment(), log, lambda: told.search(log.read_text()) is not None):
        found = told.search(log.read_text())
        assert found is not None
        yield found[1]
