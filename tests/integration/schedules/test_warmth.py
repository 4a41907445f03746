"""Keeping warm: who is pinged, how often, and what is counted."""

from collections.abc import Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from policies.catalog import Catalog
from tests.integration.schedules.conftest import Schedules
from workers.providers.protocol import WarmReport
from workers.schedules.clock import ScheduleClock
from workers.schedules.warmth import WarmthKeeper


class Upstreams:
    """Deployments as the pools of a worker would reach them, and a clock."""

    def __init__(self) -> None:
        self.pinged: list[str] = []
        self.down: set[str] = set()
        self.now = 1000.0
        self.status = 200

    async def warm(self, name: str) -> WarmReport:
        self.pinged.append(name)
        return WarmReport(error="connection refused") if name in self.down else WarmReport(opened=1, status=self.status)


@pytest.fixture
def upstreams() -> Upstreams:
    return Upstreams()


@pytest.fixture
def keeper(worker_engine: AsyncEngine, catalog: Catalog, upstreams: Upstreams) -> WarmthKeeper:
    return WarmthKeeper(worker_engine, lambda: catalog, upstreams.warm, clock=lambda: upstreams.now)


async def open_window(schedules: Schedules, clock: Callable[..., ScheduleClock], *models: str) -> None:
    template = {"models": list(models), "deployments": [], "window_s": 600.0, "every_s": 45.0}
    await schedules.add(kind="keep_warm", template=template)
    await clock().once()


async def test_nobody_is_pinged_outside_a_window(
    schedules: Schedules, keeper: WarmthKeeper, upstreams: Upstreams
) -> None:
    assert await keeper.once() == 0
    assert upstreams.pinged == []


async def test_in_a_window_each_deployment_is_pinged_every_so_often_and_counted_by_run(
    schedules: Schedules,
    clock: Callable[..., ScheduleClock],
    keeper: WarmthKeeper,
    upstreams: Upstreams,
    catalog: Catalog,
) -> None:
    first, second = catalog.deployments_for("sim/fast")[0].name, catalog.deployments_for("sim/large")[0].name
    upstreams.down = {second}
    await open_window(schedules, clock, "sim/fast", "sim/large")
    await keeper.once()
    assert sorted(upstreams.pinged) == sorted([first, second])
    upstreams.now += 40
    await keeper.once()
    assert len(upstreams.pinged) == 2
    upstreams.now += 6
    await keeper.once()
    assert len(upstreams.pinged) == 4
    [run] = await schedules.store.rows("SELECT * FROM schedule_runs")
    assert (run.submitted, run.succeeded, run.failed) == (4, 2, 2)


async def test_two_windows_that_want_the_same_deployment_share_its_ping(
    schedules: Schedules, clock: Callable[..., ScheduleClock], keeper: WarmthKeeper, upstreams: Upstreams
) -> None:
    await open_window(schedules, clock, "sim/fast")
    await open_window(schedules, clock, "sim/fast")
    assert await keeper.once() == 1
    assert [run.submitted for run in await schedules.store.rows("SELECT * FROM schedule_runs")] == [1, 1]


async def test_a_window_of_a_paused_schedule_is_left_alone(
    schedules: Schedules, clock: Callable[..., ScheduleClock], keeper: WarmthKeeper, upstreams: Upstreams
) -> None:
    await open_window(schedules, clock, "sim/fast")
    await schedules.store.sql("UPDATE schedules SET paused = true, next_run_at = NULL")
    assert await keeper.once() == 0


@pytest.mark.parametrize(("status", "failed"), [(200, 0), (404, 0), (401, 1), (403, 1), (500, 1), (503, 1)])
async def test_a_ping_whose_key_is_refused_or_whose_server_is_ill_has_failed(
    schedules: Schedules, clock: Callable[..., ScheduleClock], keeper: WarmthKeeper, upstreams: Upstreams, status: int,
    failed: int,
) -> None:  # fmt: skip
    upstreams.status = status
    await open_window(schedules, clock, "sim/fast")
    await keeper.once()
    [run] = await schedules.store.rows("SELECT * FROM schedule_runs")
    assert (run.submitted, run.succeeded, run.failed) == (1, 1 - failed, failed)
