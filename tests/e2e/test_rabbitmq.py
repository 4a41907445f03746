"""RabbitMQ as the broker: any Celery broker can carry doorbells. Left out, and said so, where no RabbitMQ is installed."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.dispatch import Doorbell, publisher
from core.settings import Settings
from tests.support.processes import Stage
from tests.support.rabbitmq import RabbitMQ, find_rabbitmq
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually

BODY = chat_body("sim/fast", sim={"ttft_ms": 10})
# Sweeps this far apart leave all the work to doorbells.
NO_SWEEP = "600"


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    script = find_rabbitmq()
    if script is None:
        pytest.skip("no rabbitmq-server here (Debian: apt-get install rabbitmq-server)")
    folder = tmp_path / "rabbitmq"
    folder.mkdir()
    server = RabbitMQ(script, folder)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def through_rabbitmq(stage_settings: Settings, rabbitmq: RabbitMQ, tmp_path: Path) -> Settings:
    """No Redis: hints can't stand in for the doorbells."""
    nowhere = f"unix://{tmp_path / 'no.sock'}?db=0"
    return stage_settings.model_copy(update={"broker_url": rabbitmq.url, "redis_url": nowhere})


async def all_done(store: Store, jobs: int) -> None:
    async def look() -> bool:
        return await store.statuses() == {"succeeded": jobs}

    await eventually(look, 45)


async def test_doorbells_through_rabbitmq_bring_jobs_to_workers(
    store: Store, stage: Stage, through_rabbitmq: Settings, simulator: RunningSimulator
) -> None:
    await stage.worker(through_rabbitmq, say="ready.", sweep_s=NO_SWEEP)
    doorbell = Doorbell(publisher(through_rabbitmq))
    doorbell.start()
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant, body=BODY) for _ in range(50)))
    doorbell.ring("default")
    await all_done(store, 50)
    await asyncio.to_thread(doorbell.stop)
    assert doorbell.up
    assert simulator.stats()["requests"] == 50


async def test_rabbitmq_killed_and_restarted_loses_nothing(
    store: Store, stage: Stage, through_rabbitmq: Settings, simulator: RunningSimulator, rabbitmq: RabbitMQ
) -> None:
    worker = await stage.worker(through_rabbitmq, say="ready.", max_in_flight="16")
    tenant = await store.tenant()
    doorbell = Doorbell(publisher(through_rabbitmq))
    doorbell.start()
    await store.accept(*(new_job(tenant, body=BODY) for _ in range(50)))
    doorbell.ring("default")
    await asyncio.to_thread(rabbitmq.kill)
    await store.accept(*(new_job(tenant, body=BODY) for _ in range(50)))
    await all_done(store, 100)
    await asyncio.to_thread(rabbitmq.start)

    async def rung() -> bool:
        doorbell.ring("default")
        await asyncio.sleep(0.05)
        return doorbell.up

    await eventually(rung, 60)
    await asyncio.to_thread(doorbell.stop)
    assert simulator.stats()["requests"] == 100
    assert worker.alive


async def test_the_api_answers_202_at_once_through_rabbitmq(
    api_key: str, stage: Stage, through_rabbitmq: Settings
) -> None:
    await stage.worker(through_rabbitmq, say="ready.")
    api = await stage.api(through_rabbitmq)
    async with httpx.AsyncClient(
        base_url=api.url, trust_env=False, headers={"authorization": f"Bearer {api_key}"}
    ) as client:
        job = {"endpoint": "/v1/chat/completions", "body": json.loads(BODY)}
        answer = await client.post("/v1/jobs", json=job, headers={"prefer": "wait=30"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "succeeded"
        assert (await client.get("/readyz")).json()["degraded"] == ["redis", "lane:webhooks"]
