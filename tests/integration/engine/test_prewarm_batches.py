"""Prewarm runs by way of a Batch API: where the schedule says that its jobs may take their time, and only there."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from core.settings import Settings
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Caller, job_request, running_api
from tests.support.simulator import RunningSimulator
from tests.support.store import Store
from tests.support.waiting import eventually

LANES = ("interactive", "default", "bulk", "prewarm", "maintenance")
QUICK = {"upstream_batch_collect_s": 0.05, "upstream_batch_poll_s": 0.05}


@pytest.fixture
async def caller(store: Store, engine_settings: Settings) -> AsyncIterator[Caller]:
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        yield await api.caller("acme", "jobs:write", "jobs:read", "admin")


async def prewarmed(caller: Caller, **template: Any) -> dict[str, Any]:
    """Run a prewarm schedule of twenty entries to its end; the run."""
    body = {"model": "sim/batch", "messages": [{"role": "user", "content": "Cards for {{n}}"}], "temperature": 0}
    body["sim"] = {"ttft_ms": 1, "tokens_per_s": 1e6}
    asked = {
        "name": "cards", "kind": "prewarm", "cron": "0 3 * * *", "matrix": {"n": list(range(20))},
        "template": {"endpoint": "/v1/chat/completions", "body": body, **template},
    }  # fmt: skip
    path = f"/v1/schedules/{(await caller.post('/v1/schedules', 201, asked))['id']}"
    await caller.post(f"{path}/run", 202)

    async def ended() -> bool:
        [run] = (await caller.get(f"{path}/runs"))["data"]
        return bool(run["status"] == "completed")

    await eventually(ended)
    [run] = (await caller.get(f"{path}/runs"))["data"]
    found: dict[str, Any] = run
    return found


async def ask(caller: Caller, number: int) -> Any:
    request = job_request(f"Cards for {number}", model="sim/batch")
    request["body"] |= {"temperature": 0, "sim": {"ttft_ms": 1, "tokens_per_s": 1e6}}
    return await caller.http.post("/v1/jobs", json=request, headers={"prefer": "wait=20"})


async def test_entries_that_may_take_their_time_are_filled_at_the_batch_price(
    store: Store, caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=LANES, **QUICK)
    run = await prewarmed(caller, lane="bulk")
    assert (run["submitted"], run["succeeded"]) == (20, 20)
    stats = simulator.stats()
    assert (stats["requests"], stats["batches"]["submit"]) == (0, 1)
    [jobs] = await store.rows(
        "SELECT min(lane) AS lane, max(lane) AS other, sum(cost_usd) AS usd, sum((usage ->> 'input_tokens')::int) AS given, "
        "sum((usage ->> 'output_tokens')::int) AS made FROM jobs"
    )
    assert (jobs.lane, jobs.other) == ("bulk", "bulk")
    assert jobs.usd == Decimal(jobs.given + 2 * jobs.made) / 2 / 1_000_000
    for number in (0, 7, 19):
        answer = await ask(caller, number)
        assert (answer.status_code, answer.headers["x-coatcheck-cache"]) == (200, "hit")
    assert simulator.stats()["requests"] == 0


async def test_entries_that_are_to_be_there_soon_are_filled_by_calls(
    store: Store, caller: Caller, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(lanes=LANES, **QUICK)
    await prewarmed(caller)
    stats = simulator.stats()
    assert (stats["requests"], stats["batches"].get("submit", 0)) == (20, 0)
    assert await store.value("SELECT array_agg(DISTINCT lane) FROM jobs") == ["prewarm"]
