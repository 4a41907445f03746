"""Redis that answers and takes nothing any more: its memory is used up, or it has become somebody's replica."""

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest
from redis import Redis

from cli.stack.redis import EmbeddedRedis
from core.dispatch import Doorbell, publisher
from core.settings import Settings
from tests.support.processes import Stage
from tests.support.store import Store
from tests.support.waiting import eventually

Change = Callable[["Redis"], object]

# (what is done to it, what undoes it)
TROUBLES: dict[str, tuple[Change, Change]] = {
    "out of memory": (lambda redis: redis.config_set("maxmemory", 1), lambda redis: redis.config_set("maxmemory", 0)),
    "read-only": (lambda redis: redis.replicaof("127.0.0.1", 1), lambda redis: redis.replicaof("NO", "ONE")),
}


@pytest.fixture
def server(own_redis: EmbeddedRedis) -> Iterator["Redis"]:
    with Redis.from_url(own_redis.url_for(1)) as client:
        client.config_set("maxmemory-policy", "noeviction")
        yield client


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_redis_that_takes_nothing_any_more_costs_no_job(
    store: Store, stage: Stage, stage_settings: Settings, api_key: str, server: "Redis", trouble: str
) -> None:
    begin, end = TROUBLES[trouble]
    api = await stage.api()
    await stage.worker(say="ready.")
    async with httpx.AsyncClient(base_url=api.url, headers={"authorization": f"Bearer {api_key}"}, timeout=30) as http:

        async def submit(number: int) -> None:
            body = {
                "model": "sim/fast",
                "messages": [{"role": "user", "content": f"Number {number}?"}],
                "temperature": 0,
            }
            request = {"endpoint": "/v1/chat/completions", "body": body | {"stream": number % 5 == 0}}
            answer = await http.post("/v1/jobs", json=request)
            assert answer.status_code == 202, answer.text

        await submit(0)
        begin(server)
        await asyncio.gather(*(submit(number) for number in range(1, 60)))

        async def done() -> bool:
            return await store.statuses() == {"succeeded": 60}

        await eventually(done, 60)
        end(server)
        waited = await http.post(
            "/v1/jobs", json={"endpoint": "/v1/chat/completions", "body": {"model": "sim/fast", "messages": [
                {"role": "user", "content": "And now?"}]}}, headers={"prefer": "wait=20"},
        )  # fmt: skip
        assert waited.status_code == 200
    ring = Doorbell(publisher(stage_settings))
    ring.start()

    async def consumed() -> bool:
        ring.ring("default")
        await asyncio.sleep(0.05)
        return ring.up and server.llen("default") == 0

    await eventually(consumed, 60)
    ring.stop()
    assert api.alive
