"""The part of a worker that feeds Batch APIs, as a process of its own, to be killed."""

import asyncio
import sys

from redis.asyncio import Redis

from core.announce import Announcer
from core.catalog import load
from core.database import connect
from core.presence import Presence
from core.settings import Settings, WorkerSettings
from workers.upstream_batches import UpstreamBatches


async def main() -> None:
    settings = Settings()
    engine = connect(settings, "coatcheck_worker", pool_size=4, name="test-batches")
    presence = Presence("worker", ("bulk",), 60)
    await presence.renew(engine, None, {})
    announcer = Announcer(Redis.from_url(settings.redis_url))
    announcer.start()
    catalog = load(settings.catalog, settings.simulator_url)
    batches = UpstreamBatches(
        engine,
        presence.id,
        settings,
        WorkerSettings(),
        catalog=lambda: catalog,
        announcer=announcer,
        start=lambda _row: None,
        work=lambda _lane: None,
    )
    sys.stdout.write("feeding\n")
    sys.stdout.flush()
    await batches.run()


if __name__ == "__main__":
    asyncio.run(main())
