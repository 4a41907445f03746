"""What an attempt is asked before it starts and how its request is made: limits of keys and tenants, thrift, Batch APIs."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.lifecycle import Status
from core.secrets import SecretBox, new_secret_key
from core.settings import Settings
from core.store.keys import NewKey, create_key
from policies.limits import Limits
from tests.integration.engine.conftest import StartEngine
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually

HANGING = chat_body("sim/fast", sim={"hang": True})


async def key_with(owner: AsyncEngine, limits: Limits) -> tuple[UUID, NewKey]:
    key = await create_key(owner, SecretBox.from_setting(new_secret_key()), "acme", limits=limits)
    async with owner.connect() as connection:
        found = await connection.exec_driver_sql("SELECT id FROM tenants WHERE name = 'acme'")
        return found.scalar_one(), key


async def all_done(store: Store, *jobs: UUID) -> None:
    async def look() -> bool:
        return all([await store.status(job) is Status.SUCCEEDED for job in jobs])

    await eventually(look)


async def test_a_key_never_has_more_jobs_in_flight_than_it_may(
    store: Store, owner: AsyncEngine, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    tenant, key = await key_with(owner, Limits(max_in_flight=2))
    await start_engine()
    jobs = await store.accept(*(new_job(tenant, key_id=key.id, body=HANGING) for _ in range(5)))
    free = await store.add(tenant)  # no key, no limit
    await asyncio.to_thread(simulator.wait_for, min_in_flight=2)
    await all_done(store, free)

    async def held() -> bool:
        return bool(await store.value("SELECT count(*) >= 3 FROM attempts WHERE outcome = 'handed_back'"))

    await eventually(held)
    assert simulator.stats()["in_flight"] == 2

    async def released() -> bool:
        await asyncio.to_thread(simulator.control, release=True)
        return bool(await store.value("SELECT count(*) = 6 FROM jobs WHERE status = 'succeeded'"))

    await eventually(released)
    assert all([await store.status(job) is Status.SUCCEEDED for job in jobs])
    assert simulator.stats()["max_in_flight"] <= 3  # with the one that has no key
    attempts = await store.rows("SELECT DISTINCT attempts FROM jobs")
    assert [row.attempts for row in attempts] == [1]


async def test_a_spent_budget_keeps_accepted_jobs_waiting_and_burns_no_attempt(
    store: Store, owner: AsyncEngine, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    tenant, key = await key_with(owner, Limits(budget_day_usd=Decimal(0)))
    await start_engine()
    job = await store.add(tenant, key_id=key.id)

    async def held() -> bool:
        return "handed_back" in await store.outcomes(job)

    await eventually(held)
    assert await store.status(job) is Status.QUEUED
    assert (await store.job(job)).attempts == 0
    assert simulator.stats()["requests"] == 0


async def test_a_cost_stands_on_every_job_whose_price_is_known(store: Store, start_engine: StartEngine) -> None:
    await start_engine()
    tenant = await store.tenant()
    priced, unpriced = await store.add(tenant, model="sim/large"), await store.add(tenant, model="local/none")
    body = chat_body("sim/large", sim={"latency_ms": 0, "ttft_ms": 0})
    priced = (await store.accept(new_job(tenant, model="sim/large", body=body)))[0]
    await all_done(store, priced)
    row = await store.job(priced)
    assert row.cost_usd > 0
    assert await store.value("SELECT sum(cost_usd) FROM usage_days") >= row.cost_usd
    assert (await store.job(unpriced)).cost_usd is None


@pytest.mark.parametrize("kind", ["drop", "summarise"])
async def test_history_that_does_not_fit_is_shortened_before_the_call(
    store: Store, start_engine: StartEngine, engine_settings: Settings, simulator: RunningSimulator, kind: str
) -> None:
    engine_settings.catalog.write_text(f"""
[[deployments]]
model = "short"
provider = "openai"
base_url = "{simulator.url}/v1"
upstream_model = "sim/fast"
context_length = 600

[models."short".thrift]
fit_history = "{kind}"
{'summary_model = "sim/fast"' if kind == "summarise" else ""}
""")
    await start_engine()
    tenant = await store.tenant()
    turns: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for number in range(12):
        turns.append({"role": "user", "content": f"Question {number}: " + "what about my coat " * 20})
        turns.append({"role": "assistant", "content": f"Answer {number}: " + "it hangs on the third hook " * 10})
    turns.append({"role": "user", "content": "And where is it now?"})
    body = orjson.dumps({"model": "short", "messages": turns}).decode()
    [job] = await store.accept(new_job(tenant, model="short", body=body))
    await all_done(store, job)
    row = await store.job(job)
    usage, route = orjson.loads(row.usage), orjson.loads(row.route)
    assert usage["saved_tokens"] > 0
    assert orjson.loads(row.timing)["thrift_ms"] > 0
    assert usage["input_tokens"] < 600
    assert ("summarised" if kind == "summarise" else "dropped") in route["reason"]
    assert simulator.stats()["requests"] == (2 if kind == "summarise" else 1)
    # What was asked stays as it was sent.
    assert orjson.loads(row.body)["messages"] == turns


async def test_bulk_jobs_go_through_a_batch_api_at_the_batch_price(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(upstream_batch_collect_s=0.05, upstream_batch_poll_s=0.05)
    tenant = await store.tenant()
    body = chat_body("sim/batch")
    jobs = await store.accept(*(new_job(tenant, model="sim/batch", lane="bulk", body=body) for _ in range(30)))
    alone = await store.add(
        tenant, model="sim/batch", body=chat_body("sim/batch", sim={"ttft_ms": 0, "tokens_per_s": 1e6})
    )
    await all_done(store, *jobs, alone)
    costs = {(await store.job(job)).cost_usd for job in jobs}
    assert len(costs) == 1
    assert costs.pop() > 0
    assert simulator.stats()["batches"]["submit"] == 1
