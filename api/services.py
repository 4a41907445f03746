"""What one API process shares between its requests: made at its start, closed in order at its end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from api.auth import Authenticator
from api.edge.body import BodyLimits
from api.rate import RateLimiter
from core import catalog as catalog_file
from core.announce import Announcer, open_redis
from core.database import connect
from core.dispatch import Doorbell, publisher
from core.live import Hub
from core.presence import Presence
from core.settings import ApiSettings, Settings, WebhookSettings
from core.store.committer import Committer
from core.store.failures import DATABASE_ERRORS
from core.store.keys import ApiKey, authenticate
from core.telemetry import metrics
from policies.addresses import Openings
from policies.catalog import Catalog

_LEASE_S: Final = 15.0
_RENEW_S: Final = 5.0


@dataclass(slots=True)
class Services:
    """Connections and background parts of this process."""

    settings: Settings
    api: ApiSettings
    catalog: Catalog
    openings: Openings
    engine: AsyncEngine
    redis: "Redis"
    announcer: Announcer
    hub: Hub
    committer: Committer
    doorbell: Doorbell
    auth: Authenticator
    limits: BodyLimits
    bulk_limits: BodyLimits
    presence: Presence = field(default_factory=lambda: Presence("api", (), _LEASE_S))
    started_at: float = field(default_factory=time.time)
    #: Jobs and groups with an idempotency key that are being accepted right now, by (tenant, key).
    accepting: set[tuple[UUID, str]] = field(default_factory=set)
    #: A bulk body of 64 MB is ten times as large once parsed: one at a time.
    bulk_turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    @property
    def public_url(self) -> str:
        """What absolute URLs start with."""
        return self.settings.public_url


@asynccontextmanager
async def running(settings: Settings, api: ApiSettings, webhook: WebhookSettings) -> AsyncIterator[Services]:
    """Start everything, and stop it in the opposite order.

    Raises:
        core.catalog.CatalogError: when the catalog can't be used.
    """
    catalog = catalog_file.load(settings.catalog, settings.simulator_url)
    engine = connect(settings, "coatcheck_api", pool_size=api.database_pool, name="coatcheck-api")
    redis = open_redis(settings.redis_url, settings.redis_timeout_s)
    services = _assemble(settings, api, webhook, catalog, engine, redis)
    services.hub.on_revoked_key(services.auth.forget)
    services.announcer.start()
    services.hub.start()
    services.committer.start()
    services.doorbell.start()
    presence = asyncio.create_task(_stay_present(services), name="presence")
    try:
        yield services
    finally:
        presence.cancel()
        await services.committer.stop()
        await services.hub.stop()
        await services.announcer.stop()
        await asyncio.to_thread(services.doorbell.stop)
        with suppress(*DATABASE_ERRORS):
            await services.presence.leave(engine)
        await redis.aclose()
        await engine.dispose()


async def _stay_present(services: Services) -> None:
    """Show this process's metrics and health to the others."""
    while True:
        metrics.WAITING.set(services.hub.waiting)
        health: dict[str, object] = {"redis": services.hub.redis_up, "broker": services.doorbell.up}
        with suppress(*DATABASE_ERRORS):
            await services.presence.renew(services.engine, metrics.snapshot(), health)
        await asyncio.sleep(_RENEW_S)


def _assemble(
    settings: Settings,
    api: ApiSettings,
    webhook: WebhookSettings,
    catalog: Catalog,
    engine: AsyncEngine,
    redis: "Redis",
) -> Services:
    async def load(token: str) -> ApiKey | None:
        return await authenticate(engine, token)

    return Services(
        settings=settings,
        api=api,
        catalog=catalog,
        openings=Openings.parse(webhook.allow_ranges, http=webhook.allow_http, any_port=webhook.allow_any_port),
        engine=engine,
        redis=redis,
        announcer=Announcer(redis),
        hub=Hub(engine, redis, poll_s=api.poll_s, poll_without_redis_s=api.poll_without_redis_s),
        committer=Committer(engine, most=api.commit_max_jobs, committers=api.committers),
        doorbell=Doorbell(publisher(settings)),
        auth=Authenticator(load, RateLimiter(redis), api.key_cache_s),
        limits=BodyLimits(api.max_body_bytes, api.body_idle_timeout_s, api.body_timeout_s),
        # A large bulk body may take as much longer as it may be larger.
        bulk_limits=BodyLimits(
            api.max_bulk_bytes,
            api.body_idle_timeout_s,
            api.body_timeout_s * max(1.0, api.max_bulk_bytes / api.max_body_bytes),
        ),
    )
