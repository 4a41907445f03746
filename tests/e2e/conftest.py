"""Real processes on servers that may be killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.redis import EmbeddedRedis
from core.settings import Settings
from tests.support.processes import Stage
from tests.support.servers import running_redis
from tests.support.simulator import RunningSimulator


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    """A Redis of this test's own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def stage_settings(
    database_url: str, own_redis: EmbeddedRedis, simulator: RunningSimulator, secret_key: str, tmp_path: Path
) -> Settings:
    catalog = tmp_path / "catalog.toml"
    catalog.touch()
    return Settings(
        database_url=database_url,
        redis_url=own_redis.url,
        broker_url=own_redis.broker_url,
        simulator_url=simulator.url,
        secret_key=secret_key,
        catalog=catalog,
        public_url="http://coatcheck.test",
    )


@pytest.fixture
def stage(stage_settings: Settings, tmp_path: Path) -> Iterator[Stage]:
    """Starts workers, APIs and beats, and ends them."""
    made = Stage(stage_settings, tmp_path)
    yield made
    made.close()
