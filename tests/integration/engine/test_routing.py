"""Jobs of models with several deployments: elsewhere when one fails, beside when one is slow, in the queue when all are away."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from core.lifecycle import Status
from core.settings import Settings
from tests.integration.engine.conftest import StartEngine
from tests.support.proxy import Proxy
from tests.support.simulator import RunningSimulator
from tests.support.store import Store, chat_body, new_job
from tests.support.waiting import eventually

NOBODY = "http://127.0.0.1:9"


class Written:
    """A catalog file that a test fills."""

    def __init__(self, path: Path, simulator_url: str) -> None:
        self.path = path
        self._url = simulator_url
        self._text = ""

    def deployment(self, name: str, model: str = "m", *, url: str | None = None, **keys: Any) -> None:
        keys = {"upstream_model": "sim/fast", "max_concurrency": 64} | keys
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())
        self._text += (
            f'[[deployments]]\nname = "{name}"\nmodel = "{model}"\nprovider = "openai"\n'
            f'base_url = "{url or self._url}/v1"\n{lines}'
        )
        self.path.write_text(self._text)

    def policy(self, text: str, model: str = "m") -> None:
        self._text += f'[models."{model}"]\n{text}\n'
        self.path.write_text(self._text)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())} }}"
    return orjson.dumps(value).decode()


@pytest.fixture
def catalog(engine_settings: Settings, simulator: RunningSimulator) -> Written:
    return Written(engine_settings.catalog, simulator.url)


async def reach(store: Store, *jobs: UUID, status: Status = Status.SUCCEEDED) -> list[dict[str, Any]]:
    """Wait until all jobs are there; return their routes."""

    async def there() -> bool:
        return all([await store.status(job) is status for job in jobs])

    await eventually(there)
    return [orjson.loads((await store.job(job)).route or "{}") for job in jobs]


async def add(store: Store, tenant: UUID, count: int = 1, model: str = "m", **fields: Any) -> list[UUID]:
    more: dict[str, Any] = fields.pop("more", {}) | ({"stream": True} if fields.get("stream") else {})
    body = chat_body(model, **more)
    return await store.accept(*(new_job(tenant, model=model, body=body, **fields) for _ in range(count)))


async def test_jobs_go_to_all_deployments_and_say_why(
    store: Store, start_engine: StartEngine, catalog: Written
) -> None:
    for name in "abc":
        catalog.deployment(name)
    await start_engine()
    routes = await reach(store, *await add(store, await store.tenant(), 60))
    assert {route["deployment"] for route in routes} == set("abc")
    assert {route["reason"] for route in routes} == {"3 of 3 deployments healthy; the quicker of two drawn at random"}


async def test_a_dead_deployment_costs_no_job_an_attempt(
    store: Store, start_engine: StartEngine, catalog: Written
) -> None:
    catalog.deployment("dead", url=NOBODY)
    catalog.deployment("alive")
    catalog.policy('balance = "least_in_flight"')
    engine = await start_engine()
    tenant = await store.tenant()
    jobs = await add(store, tenant, 40)
    routes = await reach(store, *jobs)
    assert {route["deployment"] for route in routes} == {"alive"}
    missed = [route["fallbacks"] for route in routes if route["fallbacks"]]
    assert missed and all(way == [{"deployment": "dead", "code": "upstream_unreachable"}] for way in missed)
    assert {(await store.job(job)).attempts for job in jobs} == {1}
    assert engine._on_loop.router.states["dead"].breaker.retry_at is not None
    [later] = await reach(store, *await add(store, tenant))
    assert later["deployment"] == "alive"


async def test_a_stream_that_breaks_restarts_elsewhere_and_its_readers_are_told(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator, catalog: Written
) -> None:
    catalog.deployment("broken", upstream_model="sim/chat", region="near")
    catalog.deployment("whole", region="far")
    catalog.policy('regions = ["near", "far"]')
    simulator.control(model="sim/chat", malformed="stream_cut", after_tokens=3, ttft_ms=0)
    await start_engine()
    [job] = await add(store, await store.tenant(), stream=True)
    [route] = await reach(store, job)
    assert route["deployment"] == "whole"
    assert route["fallbacks"] == [{"deployment": "broken", "code": "bad_reply"}]
    rows = await store.rows("SELECT seq, last_seq, type, data FROM job_events WHERE job_id = :id ORDER BY seq", id=job)
    told = [row.type for row in rows]
    assert told.count("job.reset") == 1
    assert told[-1] == "job.succeeded"
    assert [row.seq for row in rows[1:]] == [row.last_seq + 1 for row in rows[:-1]]
    reset = told.index("job.reset")
    assert orjson.loads(rows[reset].data) == {"reason": "bad_reply"}
    after = [entry["delta"] for row in rows[reset + 1 :] if row.type == "job.delta" for entry in orjson.loads(row.data)]
    assert "".join(after) == orjson.loads((await store.job(job)).result)["choices"][0]["message"]["content"]
    assert await store.outcomes(job) == ["succeeded"]


async def test_a_job_goes_to_the_fallback_for_its_kind_of_error(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator, catalog: Written
) -> None:
    catalog.deployment("small", upstream_model="sim/chat")
    catalog.deployment("large", model="l")
    catalog.policy('fallbacks = { context = ["l"] }')
    error = {"status": 400, "code": "context_length_exceeded"}
    simulator.control(model="sim/chat", error=error)
    await start_engine()
    [job] = await add(store, await store.tenant())
    [route] = await reach(store, job)
    assert (route["deployment"], route["fallbacks"]) == (
        "large", [{"deployment": "small", "code": "context_length_exceeded"}],
    )  # fmt: skip
    assert "fallback to l" in route["reason"]


async def test_a_saturated_model_does_not_stop_another_one_in_its_lane(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator, catalog: Written
) -> None:
    catalog.deployment("narrow", max_concurrency=1)
    catalog.deployment("wide", model="w")
    await start_engine(grace_s=0)
    tenant = await store.tenant()
    full = await add(store, tenant, 20, more={"sim": {"hang": True}})
    await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
    await reach(store, *await add(store, tenant, 20, model="w"))
    assert (await store.statuses())["queued"] == 19
    assert simulator.stats()["in_flight"] == 1
    assert {(await store.job(job)).attempts for job in full} == {0, 1}


class TestEverythingAway:
    @pytest.fixture
    def door(self, simulator: RunningSimulator) -> Iterator[Proxy]:
        with Proxy(("127.0.0.1", int(simulator.url.rpartition(":")[2]))) as proxy:
            yield proxy

    async def test_jobs_wait_in_the_queue_without_burning_attempts(
        self, store: Store, start_engine: StartEngine, catalog: Written, door: Proxy
    ) -> None:
        catalog.deployment("a", url=f"http://127.0.0.1:{door.port}")
        engine = await start_engine()
        tenant = await store.tenant()
        door.set("reset")
        first = await add(store, tenant, 5, max_attempts=20)

        async def opened() -> bool:
            return not engine._on_loop.router.room()["m"]

        await eventually(opened)
        later = await add(store, tenant, 50, max_attempts=2)

        async def probed() -> bool:
            return engine._on_loop.router.states["a"].record.errors > 8

        await eventually(probed)
        waiting = await store.rows("SELECT attempts FROM jobs WHERE max_attempts = 2")
        # Probes need jobs, a few at a time; the rest has not been touched.
        assert sum(row.attempts > 0 for row in waiting) < 25
        door.set("pass")
        await store.sql("UPDATE jobs SET max_attempts = 20")
        await reach(store, *first, *later)

    async def test_the_fallback_for_outages_takes_the_jobs_meanwhile(
        self, store: Store, start_engine: StartEngine, catalog: Written, door: Proxy
    ) -> None:
        catalog.deployment("a", url=f"http://127.0.0.1:{door.port}")
        catalog.deployment("b", model="other")
        catalog.policy('fallbacks = { outage = ["other"] }')
        engine = await start_engine()
        tenant = await store.tenant()
        door.set("reset")
        routes = await reach(store, *await add(store, tenant, 12))
        assert {route["deployment"] for route in routes} == {"b"}
        assert engine._on_loop.router.away("m", "/v1/chat/completions")
        [route] = await reach(store, *await add(store, tenant))
        assert route["deployment"] == "b"
        assert "deployments of m are away: fallback to other" in route["reason"] or route["fallbacks"]


async def test_a_hedge_wins_and_the_slow_call_is_really_cancelled(
    store: Store, start_engine: StartEngine, simulator: RunningSimulator, catalog: Written
) -> None:
    price = {"input": 1000, "output": 0}
    catalog.deployment("near", upstream_model="sim/chat", region="near", price=price)
    catalog.deployment("far", region="far", price=price)
    catalog.policy('regions = ["near"]\nhedge = true')
    simulator.control(model="sim/chat", latency_ms=1)
    engine = await start_engine()
    tenant = await store.tenant()
    await reach(store, *await add(store, tenant, 60))

    async def measured() -> bool:
        return engine._on_loop.router.states["near"].record.total_p95 is not None

    await eventually(measured)
    simulator.control(model="sim/chat", hang=True)
    [job] = await add(store, tenant)
    [route] = await reach(store, job)
    assert (route["deployment"], route["fallbacks"]) == ("far", [{"deployment": "near", "code": "slower"}])
    await asyncio.to_thread(simulator.wait_for, min_cancelled=1, max_in_flight=0)
    assert engine._on_loop.router.states["near"].units == 0
    assert await store.outcomes(job) == ["succeeded"]
    # The call that was broken off had read its input too, and nobody says what it cost: that much is booked.
    row = await store.job(job)
    assert row.cost_usd > Decimal(orjson.loads(row.usage)["input_tokens"]) / 1000


async def test_an_edited_catalog_is_followed_without_a_restart(
    store: Store, start_engine: StartEngine, catalog: Written
) -> None:
    catalog.deployment("a")
    engine = await start_engine()
    tenant = await store.tenant()
    [route] = await reach(store, *await add(store, tenant))
    assert route["deployment"] == "a"
    catalog.deployment("n", model="new")

    async def followed() -> bool:
        return engine._on_loop.router.room().get("new", 0) > 0

    await eventually(followed)
    [route] = await reach(store, *await add(store, tenant, model="new"))
    assert route["deployment"] == "n"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_taken_elsewhere_where_the_policy_says_so(
    store: Store, start_engine: StartEngine, catalog: Written, simulator: RunningSimulator, stream: bool
) -> None:
    """A refusal is a success to the upstream: it is known by its finish reason."""
    catalog.deployment("prim", upstream_model="sim/chat")
    catalog.deployment("liberal", "other")
    catalog.policy('fallbacks = { refused = ["other"] }')
    simulator.control(model="sim/chat", finish_reason="content_filter", ttft_ms=0, tokens_per_s=10_000)
    await start_engine()
    [route] = await reach(store, *(jobs := await add(store, await store.tenant(), stream=stream)))
    assert (route["deployment"], route["fallbacks"]) == ("liberal", [{"deployment": "prim", "code": "content_refused"}])
    row = await store.job(jobs[0])
    assert orjson.loads(row.result)["choices"][0]["finish_reason"] == "stop"
    types = [kind for _, kind in await store.events(jobs[0])]
    assert ("job.reset" in types) is stream


async def test_a_refusal_is_an_answer_where_no_policy_says_otherwise(
    store: Store, start_engine: StartEngine, catalog: Written, simulator: RunningSimulator
) -> None:
    catalog.deployment("prim", upstream_model="sim/chat")
    simulator.control(model="sim/chat", finish_reason="content_filter", ttft_ms=0, tokens_per_s=10_000)
    await start_engine()
    [route] = await reach(store, *await add(store, await store.tenant()))
    assert route["fallbacks"] == []


async def test_an_upstream_that_grows_slow_under_many_calls_gets_fewer_at_once_though_nobody_streams(
    store: Store, start_engine: StartEngine, catalog: Written
) -> None:
    # Four calls at once are quick there; of 64 most wait, and nothing but how long they take shows it.
    catalog.deployment("narrow", upstream_model="sim/gpu", max_concurrency=64)
    await start_engine()
    tenant = await store.tenant()

    async def limit() -> int:
        shown = await store.value("SELECT health #>> '{deployments,narrow,limit}' FROM processes WHERE kind = 'worker'")
        return int(shown or 64)

    for _ in range(8):
        await reach(store, *await add(store, tenant))
    assert await limit() == 64
    jobs = await add(store, tenant, 400)

    async def fewer() -> bool:
        return await limit() < 40

    await eventually(fewer)
    await reach(store, *jobs)
    assert set(await store.statuses()) == {"succeeded"}
