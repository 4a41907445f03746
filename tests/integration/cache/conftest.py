"""A Redis client, and whole engines for tests of caches that go all the way."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from tests.integration.engine.conftest import engine_settings, start_engine

__all__ = ["client", "engine_settings", "start_engine"]


@pytest.fixture
async def client(redis: EmbeddedRedis) -> AsyncIterator["Redis"]:
    client = open_redis(redis.url, 2.0)
    yield client
    await client.aclose()
