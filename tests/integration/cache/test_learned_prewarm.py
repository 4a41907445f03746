"""Learned prewarm on the whole way: from what was asked for on other days to a hit for the first who asks today."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.settings import Settings
from tests.integration.cache.test_semantic import world
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Caller
from tests.support.past import answered_at
from tests.support.simulator import RunningSimulator
from tests.support.store import CHAT, Store
from tests.support.waiting import eventually

LANES = ("interactive", "default", "bulk", "prewarm", "maintenance")


@pytest.mark.parametrize("model", ["sim/fast", "auto"])
async def test_the_first_who_asks_today_is_answered_from_what_others_asked_for_on_other_days(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator, model: str
) -> None:
    auto = '[auto]\nsimple = ["sim/fast"]\nmedium = ["sim/fast"]\ncomplex = ["sim/fast"]\nreasoning = ["sim/fast"]\n'
    body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": "What is new?"}]}
    async with world(store, engine_settings, start_engine, auto, lanes=LANES) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        for day in range(1, 15):
            at = datetime.now(UTC) - timedelta(days=day) + timedelta(minutes=5)
            await answered_at(at, store, caller.tenant_id, body | {"user": f"visitor {day}", "stream": day == 1})
        run = await warm(caller)
        assert (run["planned"], run["succeeded"], run["choices"][0]["model"]) == (1, 1, model)
        for asked in (body, body | {"stream": True, "user": "somebody else"}):
            job = await caller.post("/v1/jobs", 200, {"endpoint": CHAT, "body": asked})
            assert (job["status"], job["cache"]["status"], job["cost_usd"]) == ("succeeded", "hit", "0")


async def warm(caller: Caller) -> dict[str, Any]:
    """Run a learned schedule now; its run, once it has ended."""
    wanted = {"kind": "prewarm", "cron": "0 * * * *", "matrix": "learned", "template": {"endpoint": CHAT}}
    schedule = await caller.post("/v1/schedules", 201, wanted)
    path = f"/v1/schedules/{schedule['id']}"
    await caller.post(path + "/run", 202)

    async def ended() -> dict[str, Any] | None:
        [run] = (await caller.get(path + "/runs"))["data"]
        return run if run["status"] == "completed" else None

    run = await eventually(ended)
    assert run is not None
    return run
