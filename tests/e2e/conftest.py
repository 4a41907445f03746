"""Real processes on servers that may be killed."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.redis import EmbeddedRedis
from core.database import connect
from core.secrets import SecretBox
from core.settings import Settings
from core.store.keys import create_key
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


@pytest.fixture
async def api_key(stage_settings: Settings) -> AsyncIterator[str]:
    assert stage_settings.secret_key is not None
    box = SecretBox.from_setting(stage_settings.secret_key.get_secret_value())
    owner: AsyncEngine = connect(stage_settings, None, pool_size=0, name="test-key")
    yield (await create_key(owner, box, "acme")).key
    await owner.dispose()
