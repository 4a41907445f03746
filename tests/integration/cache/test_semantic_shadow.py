"""Shadow mode: nothing is served, and what would have been is told."""

from typing import Any

from core.settings import Settings
from tests.integration.cache.test_semantic import OPPOSITE, QUESTION, SAME, ask, status, world
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Caller
from tests.support.simulator import RunningSimulator
from tests.support.store import Store
from tests.support.waiting import eventually

SHADOW = '[models."sim/fast".cache]\nsemantic = "shadow"\n'


async def recorded(store: Store, pairs: int) -> None:
    async def there() -> bool:
        return bool(await store.value("SELECT count(*) FROM semantic_shadow") == pairs)

    await eventually(there)


async def report(caller: Caller) -> dict[str, Any]:
    found: dict[str, Any] = await caller.get("/v1/cache/shadow")
    return found


async def test_shadow_serves_nothing_and_tells_what_it_would_have_served(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine, SHADOW) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        stranger = await api.caller("globex", "admin")
        for number, text in enumerate((QUESTION, SAME, OPPOSITE)):
            assert status(await ask(caller, text, cache={})) == "miss"
            await recorded(store, number)
        assert status(await ask(caller, SAME, cache={})) == "hit"
        told = await report(caller)
        nothing = await report(stranger)

    [model] = told["data"]
    assert (model["model"], model["embedder"], model["threshold"]) == ("sim/fast", "wordllama", 0.7)
    assert (model["would_be_hits"], model["refused_by_guard"], model["refusals"]) == (1, 1, {"negation": 1})
    [passed] = [bucket for bucket in model["buckets"] if bucket["pairs"]]
    assert (passed["from"], passed["pairs"]) == (0.95, 1)
    assert model["thresholds"][0]["served"] == 1
    pairs = {(pair["kept_question"], pair["question"]) for pair in told["doubtful"]}
    assert pairs <= {(QUESTION, SAME)}
    assert (nothing["data"], nothing["doubtful"]) == ([], [])
    assert simulator.stats()["requests"] == 3


async def test_to_let_everything_go_is_to_forget_the_questions_too(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    counts = "SELECT (SELECT count(*) FROM semantic_entries), (SELECT count(*) FROM semantic_shadow)"
    async with world(store, engine_settings, start_engine, SHADOW) as api:
        acme = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        globex = await api.caller("globex", "jobs:write", "jobs:read", "admin")
        for caller in (acme, globex):
            await ask(caller, QUESTION, cache={})
            await ask(caller, SAME, cache={})
        await recorded(store, 2)
        assert [tuple(row) for row in await store.rows(counts)] == [(4, 2)]
        await acme.post("/v1/cache/invalidate", json={})
        assert [tuple(row) for row in await store.rows(counts)] == [(2, 1)]


async def test_equal_answers_agree(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine, SHADOW) as api:
        caller = await api.caller("acme", "jobs:write", "jobs:read", "admin")
        said: dict[str, Any] = {"sim": {"text": "On the third hook."}}
        await ask(caller, QUESTION, cache={}, **said)
        await ask(caller, SAME, cache={}, **said)
        await recorded(store, 1)
        [model] = (await report(caller))["data"]
    [bucket] = model["buckets"]
    assert (bucket["pairs"], bucket["same"], bucket["agreeing"], bucket["agreement"]) == (1, 1, 1, 1.0)


async def test_a_request_that_wants_near_answers_gets_them_in_spite_of_shadow(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    async with world(store, engine_settings, start_engine, SHADOW) as api:
        caller = await api.caller()
        await ask(caller, cache={})
        assert status(await ask(caller, SAME, cache={"semantic": True})) == "semantic_hit"


async def test_the_report_is_for_administrators(
    store: Store, engine_settings: Settings, start_engine: StartEngine
) -> None:
    async with world(store, engine_settings, start_engine) as api:
        caller = await api.caller()
        await caller.get("/v1/cache/shadow", 403)
        admin = await api.caller("acme", "admin")
        await admin.get("/v1/cache/shadow", 422, **{"from": "yesterday"})
