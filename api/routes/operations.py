"""For those who run it: is it alive, is it ready, what do its numbers say."""

import asyncio
import ipaddress
from typing import Final

from sqlalchemy import text

from api.answers import Answer, json_answer
from api.auth import ADMIN
from api.problems import Problem, unavailable
from api.routing import Call, needs
from core.announce import REDIS_ERRORS
from core.presence import alive
from core.settings import SUBMIT_LANES
from core.store.failures import DATABASE_ERRORS
from core.telemetry import metrics

_PING_S: Final = 2.0
_ONE = text("SELECT 1")
_DEPTHS = text("SELECT lane, depth, oldest_s FROM queue_depths()")
#: Lanes whose jobs or messages would wait for ever without a worker.
_SERVED: Final = (*SUBMIT_LANES, "webhooks")


@needs(None)
async def home(_: Call) -> Answer:
    """Tell a visitor where things are."""
    return json_answer({"name": "Coatcheck", "docs": "/docs", "openapi": "/openapi.json"})


@needs(None)
async def healthz(_: Call) -> Answer:
    """Say that the process is alive, whatever it depends on."""
    return json_answer({"status": "ok"})


@needs(None)
async def readyz(call: Call) -> Answer:
    """Say whether jobs can be accepted, and what is missing for them to run well."""
    services = call.services
    try:
        async with asyncio.timeout(_PING_S), services.engine.connect() as connection:
            await connection.execute(_ONE)
        processes = await alive(services.engine)
    except DATABASE_ERRORS:
        raise unavailable("The database cannot be reached.") from None
    if not (services.committer.healthy and services.hits.healthy):
        told = {"degraded": ["committer"]}
        raise Problem("unavailable", "This process has stopped storing jobs.", retry_after_s=1.0, members=told)
    lanes = {lane for process in processes if process.kind == "worker" for lane in process.lanes}
    degraded = [f"lane:{lane}" for lane in _SERVED if lane not in lanes]
    if not services.doorbell.up:
        degraded.insert(0, "broker")
    if not await _redis_answers(call):
        degraded.insert(0, "redis")
    if services.live_catalog.problems:
        # The file was edited and is refused: the catalog from before goes on serving.
        degraded.append("catalog")
    return json_answer({"status": "degraded" if degraded else "ready", "degraded": degraded})


async def _redis_answers(call: Call) -> bool:
    try:
        async with asyncio.timeout(_PING_S):
            await call.services.redis.ping()
    except REDIS_ERRORS:
        return False
    return True


@needs(None)
async def get_metrics(call: Call) -> Answer:
    """Return the numbers of all processes on one page; from elsewhere than this machine only with the scope admin."""
    if not _from_this_machine(call):
        await call.services.auth.admit(call.head, ADMIN)
    services = call.services
    metrics.WAITING.set(services.hub.waiting)
    own = services.presence
    pages = [(f"api-{own.id.hex[-8:]}", metrics.snapshot())]
    depths: list[tuple[str, int, float]] = []
    try:
        async with asyncio.timeout(_PING_S):
            others = [process for process in await alive(services.engine) if process.id != own.id]
            async with services.engine.connect() as connection:
                depths = [(row.lane, row.depth, row.oldest_s) for row in await connection.execute(_DEPTHS)]
        pages += [(f"{process.kind}-{process.id.hex[-8:]}", process.metrics) for process in others if process.metrics]
    except DATABASE_ERRORS:
        pass  # our own numbers are worth showing above all when the database is away
    page = await asyncio.to_thread(metrics.merge, pages, depths)
    return Answer(200, page, content_type=b"text/plain; version=0.0.4; charset=utf-8")


def _from_this_machine(call: Call) -> bool:
    # A proxy on this machine speaks for others.
    if any(name in call.head.headers for name in (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")):
        return False
    client = call.scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
