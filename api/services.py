"""What one API process shares between its requests: made at its start, closed in order at its end."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from api.auth import Authenticator
from api.edge.body import BodyLimits
from api.rate import RateLimiter
from api.screening import plug_ins
from core import auto, tokens
from core.announce import Announcer, end_tasks, open_redis
from core.cache import Cache, InProcessEmbedder, Semantic
from core.catalog import LiveCatalog
from core.database import connect
from core.dispatch import Doorbell, publisher
from core.limits import Accounts
from core.live import Hub
from core.presence import Presence, alive
from core.settings import ApiSettings, CacheSettings, Settings, WebhookSettings
from core.store.cached import HitCommitter
from core.store.committer import Committer
from core.store.failures import DATABASE_ERRORS
from core.store.keys import ApiKey, authenticate
from core.store.standing import read_bases
from core.telemetry import metrics
from policies.addresses import Openings
from policies.catalog import Catalog
from policies.screening import Screen

_log = structlog.get_logger(__name__)
_LEASE_S: Final = 15.0
_RENEW_S: Final = 5.0


@dataclass(slots=True)
class Services:
    """Connections and background parts of this process."""

    settings: Settings
    api: ApiSettings
    live_catalog: LiveCatalog
    openings: Openings
    engine: AsyncEngine
    redis: "Redis"
    announcer: Announcer
    hub: Hub
    committer: Committer
    hits: HitCommitter
    cache: Cache
    semantic: Semantic
    doorbell: Doorbell
    auth: Authenticator
    accounts: Accounts
    screens: tuple[Screen, ...]
    limits: BodyLimits
    bulk_limits: BodyLimits
    presence: Presence = field(default_factory=lambda: Presence("api", (), _LEASE_S))
    started_at: float = field(default_factory=time.time)
    #: Jobs and groups with an idempotency key that are being accepted right now, by (tenant, key).
    accepting: set[tuple[UUID, str]] = field(default_factory=set)
    #: A bulk body of 64 MB is ten times as large once parsed: one at a time.
    bulk_turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    #: Makes vectors of questions without calling anybody; models of the catalog are for workers.
    embedder: InProcessEmbedder = field(default_factory=InProcessEmbedder)
    #: Seconds to the first token by model, as the workers report them; `auto:fast` goes by it.
    ttft_s: Mapping[str, float] = field(default_factory=dict)
    #: How many API processes live: each counts for itself while Redis is away.
    processes: int = 1

    @property
    def catalog(self) -> Catalog:
        """The catalog in force. Take it once for each decision: it may be another one afterwards."""
        return self.live_catalog.current

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
    catalog = LiveCatalog(settings.catalog, settings.simulator_url)
    engine = connect(settings, "coatcheck_api", pool_size=api.database_pool, name="coatcheck-api")
    redis = open_redis(settings.redis_url, settings.redis_timeout_s)
    services = _assemble(settings, api, webhook, catalog, engine, redis)
    services.hub.on_revoked_key(services.auth.forget)
    services.announcer.start()
    services.hub.start()
    services.committer.start()
    services.hits.start()
    services.doorbell.start()
    await asyncio.to_thread(_warm, services.catalog)
    background = [
        asyncio.create_task(_stay_present(services), name="presence"),
        asyncio.create_task(catalog.follow(), name="catalog"),
    ]
    try:
        yield services
    finally:
        await end_tasks(background)
        await services.committer.stop()
        await services.hits.stop()
        await services.semantic.close()
        await services.cache.close()
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
        try:
            await services.presence.renew(services.engine, metrics.snapshot(), health)
            await _look_around(services)
        except DATABASE_ERRORS:
            pass
        except Exception:  # noqa: BLE001 - other processes, of other versions, may tell of themselves in other ways
            _log.exception("look_around_broke")
        await asyncio.sleep(_RENEW_S)


async def _look_around(services: Services) -> None:
    """Learn from the other processes' rows what this one decides by."""
    processes = await alive(services.engine)
    services.processes = max(1, sum(process.kind == "api" for process in processes))
    if services.catalog.auto is not None:
        workers = [process.health for process in processes if process.kind == "worker"]
        services.ttft_s = auto.ttft_by_model(services.catalog, workers)


def _warm(catalog: Catalog) -> None:
    """Load what the first request would otherwise wait for, as far as this catalog needs it."""
    tokens.warm(deployment.upstream_model or deployment.model for deployment in catalog.deployments)
    if catalog.auto is not None:
        auto.warm()


def _assemble(
    settings: Settings,
    api: ApiSettings,
    webhook: WebhookSettings,
    catalog: LiveCatalog,
    engine: AsyncEngine,
    redis: "Redis",
) -> Services:
    async def load(token: str) -> ApiKey | None:
        return await authenticate(engine, token)

    kept = CacheSettings()
    cache = Cache(redis, kept)
    services = Services(
        settings=settings,
        api=api,
        live_catalog=catalog,
        openings=Openings.parse(webhook.allow_ranges, http=webhook.allow_http, any_port=webhook.allow_any_port),
        engine=engine,
        redis=redis,
        announcer=Announcer(redis),
        hub=Hub(engine, redis, poll_s=api.poll_s, poll_without_redis_s=api.poll_without_redis_s),
        committer=Committer(engine, most=api.commit_max_jobs, committers=api.committers),
        hits=HitCommitter(
            engine,
            settings.public_url,
            work=lambda lane: services.doorbell.ring(lane),  # noqa: PLW0108 - made below
            most=api.commit_max_jobs,
            committers=api.committers,
        ),
        cache=cache,
        semantic=Semantic(engine, cache, kept),
        doorbell=Doorbell(publisher(settings)),
        auth=Authenticator(load, RateLimiter(redis), api.key_cache_s),
        accounts=Accounts(redis, partial(read_bases, engine), lambda: services.processes),
        screens=plug_ins(),
        limits=BodyLimits(api.max_body_bytes, api.body_idle_timeout_s, api.body_timeout_s),
        # A large bulk body may take as much longer as it may be larger.
        bulk_limits=BodyLimits(
            api.max_bulk_bytes,
            api.body_idle_timeout_s,
            api.body_timeout_s * max(1.0, api.max_bulk_bytes / api.max_body_bytes),
        ),
    )
    return services
