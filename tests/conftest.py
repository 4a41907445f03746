"""Fixtures for everybody: real servers, a fresh database, settings that come from nowhere else."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.redis import EmbeddedRedis
from core.database import Role, connect
from core.secrets import new_secret_key
from core.settings import Settings
from tests.support.servers import Databases, running_postgres, running_redis
from tests.support.simulator import RunningSimulator, running_simulator
from tests.support.store import Store

# How long an example takes says something about the machine and its other work, not about what is tested. The same commit gets
# the same examples each time; `--hypothesis-profile=wandering` looks for others.
_UNHURRIED = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.register_profile("repeatable", _UNHURRIED, derandomize=True)
hypothesis_settings.register_profile("wandering", _UNHURRIED)
hypothesis_settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """What a developer has exported for a stack of their own must not steer the tests."""
    for name in [name for name in os.environ if name.startswith("COATCHECK_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The run's Postgres, which hands out migrated databases."""
    with running_postgres() as running:
        yield running


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A fresh, migrated database."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def module_database_url(databases: Databases) -> Iterator[str]:
    """A migrated database that the tests of one module share."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """The run's Redis; `redis` is the way to use it."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> EmbeddedRedis:
    """The run's Redis, empty."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def secret_key() -> str:
    return new_secret_key()


@pytest.fixture
def settings(database_url: str, redis: EmbeddedRedis, secret_key: str) -> Settings:
    """Settings of a process that uses the fresh database and the empty Redis."""
    return Settings(
        database_url=database_url,
        redis_url=redis.url,
        broker_url=redis.broker_url,
        secret_key=secret_key,
        redis_timeout_s=1.0,
        public_url="http://coatcheck.test",
    )


@pytest.fixture
async def open_engine(database_url: str) -> AsyncIterator[Callable[..., AsyncEngine]]:
    """Opens engines on the fresh database: `open_engine("coatcheck_api")`; None is the schema's owner."""
    opened: list[AsyncEngine] = []

    def open_one(role: Role | None, pool_size: int = 5, **changes: Any) -> AsyncEngine:
        settings = Settings(**({"database_url": database_url} | changes))
        opened.append(connect(settings, role, pool_size=pool_size, name=f"test-{role or 'owner'}"))
        return opened[-1]

    yield open_one
    for engine in opened:
        await engine.dispose()


@pytest.fixture
def owner(open_engine: Callable[..., AsyncEngine]) -> AsyncEngine:
    """Connections as the schema's owner, who sees everything."""
    return open_engine(None)


@pytest.fixture
def api_engine(open_engine: Callable[..., AsyncEngine]) -> AsyncEngine:
    return open_engine("coatcheck_api")


@pytest.fixture
def worker_engine(open_engine: Callable[..., AsyncEngine]) -> AsyncEngine:
    return open_engine("coatcheck_worker")


@pytest.fixture
async def store(owner: AsyncEngine, api_engine: AsyncEngine, worker_engine: AsyncEngine) -> Store:
    """The fresh database as API and workers see it, with short words for what tests do to it."""
    return Store(owner, api_engine, worker_engine)


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[RunningSimulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(simulator_process: RunningSimulator) -> Iterator[RunningSimulator]:
    """The run's simulator of models, as new."""
    simulator_process.reset()
    yield simulator_process
    simulator_process.reset()
