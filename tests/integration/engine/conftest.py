"""Worker engines in this process: the whole engine with its threads, without Celery around it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings, WebhookSettings, WorkerSettings
from tests.support.simulator import RunningSimulator
from workers.engine.engine import Engine

StartEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
def engine_settings(settings: Settings, simulator: RunningSimulator, tmp_path: Path) -> Settings:
    catalog = tmp_path / "catalog.toml"
    catalog.touch()
    return settings.model_copy(update={"catalog": catalog, "simulator_url": simulator.url})


@pytest.fixture
async def start_engine(engine_settings: Settings) -> AsyncIterator[StartEngine]:
    """Starts engines with short times; keyword arguments change worker settings, `settings` the rest."""
    running: list[Engine] = []

    async def start(*, settings: Settings = engine_settings, **changes: Any) -> Engine:
        quick: dict[str, Any] = {
            "lanes": ("interactive", "default", "bulk"), "lease_s": 20, "heartbeat_s": 0.2, "sweep_s": 0.2, "grace_s": 5,
            "database_pool": 4,
        }  # fmt: skip
        engine = Engine(settings, WorkerSettings(**(quick | changes)), WebhookSettings())
        running.append(engine)
        await asyncio.to_thread(engine.start)
        return engine

    yield start
    for engine in running:
        await asyncio.to_thread(engine.stop)
