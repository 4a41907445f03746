"""The thread that renews the lease: a worker without it looks alive and claims nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import UUID

import pytest

from core.presence import Presence, alive
from core.settings import Settings
from tests.support.store import Store
from workers.engine.heartbeat import Heartbeat


class Breaking:
    """Returns nothing of note, after breaking once."""

    def __init__(self) -> None:
        self.broke = False
        self.after = threading.Event()

    def __call__(self) -> dict[Any, Any]:
        if not self.broke:
            self.broke = True
            raise RuntimeError("dictionary changed size during iteration")
        self.after.set()
        return {}


@pytest.fixture
async def beat(settings: Settings) -> AsyncIterator[Callable[..., Heartbeat]]:
    """Starts heartbeats that hold no jobs, and stops them at the end."""
    running: list[Heartbeat] = []

    def start(**looks: Callable[[], Mapping[Any, Any]]) -> Heartbeat:
        presence = Presence("worker", ("default",), 20.0)
        quiet: dict[str, Any] = {"held": dict, "health": dict} | looks

        def ignore(_: dict[UUID, int]) -> None:
            """Nothing is held, so nothing is lost."""

        running.append(Heartbeat(settings, presence, 0.05, gone=ignore, stray=ignore, silent=lambda: None, **quiet))
        running[-1].start()
        return running[-1]

    yield start
    for heartbeat in running:
        await asyncio.to_thread(heartbeat.stop)


async def test_a_report_that_breaks_does_not_cost_the_lease(store: Store, beat: Callable[..., Heartbeat]) -> None:
    health = Breaking()
    heartbeat = beat(health=health)
    assert await asyncio.to_thread(heartbeat.first.wait, 20)
    assert await asyncio.to_thread(health.after.wait, 20)
    assert heartbeat.valid
    assert [process.kind for process in await alive(store.worker)] == ["worker"]


async def test_a_defect_in_one_renewal_does_not_end_the_next(store: Store, beat: Callable[..., Heartbeat]) -> None:
    held = Breaking()
    heartbeat = beat(held=held)
    assert await asyncio.to_thread(heartbeat.first.wait, 20)
    assert held.broke
    assert heartbeat.valid
