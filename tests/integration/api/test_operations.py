"""Keys, limits, health, metrics, outages: what those who run it rely on."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from api.schemas import answers
from core.announce import KEYS
from core.presence import Presence
from core.settings import Settings
from core.store.keys import list_keys, revoke_key
from tests.support.api import Api, Caller, job_request, running_api
from tests.support.raw_http import exchange


async def test_a_revoked_key_stops_as_soon_as_redis_tells(api: Api, caller: Caller, owner: AsyncEngine) -> None:
    await caller.get("/v1/models")
    (known,) = await list_keys(owner)
    await revoke_key(owner, known.id)
    assert (await caller.http.get("/v1/models")).status_code == 200, "remembered until told"
    hub = api.running.app.state.services.hub
    while not hub.redis_up:
        await api.running.app.state.services.redis.ping()
    digest = hashlib.sha256(caller.key.encode()).digest()
    while (await caller.http.get("/v1/models")).status_code == 200:
        await api.running.app.state.services.redis.publish(KEYS, digest)
    assert (await caller.http.get("/v1/models")).status_code == 401


async def test_a_revoked_key_stops_without_redis_when_it_is_no_longer_remembered(
    settings: Settings, owner: AsyncEngine
) -> None:
    async with running_api(settings, owner, key_cache_s=0.001) as api:
        caller = await api.caller()
        await caller.get("/v1/models")
        (known,) = await list_keys(owner)
        await revoke_key(owner, known.id)
        assert (await caller.http.get("/v1/models")).status_code == 401


async def test_scopes_are_checked_on_the_matched_route(api: Api) -> None:
    reader, writer = await api.caller("acme", "jobs:read"), await api.caller("acme", "jobs:write")
    admin = await api.caller("acme", "admin")
    assert (await reader.http.post("/v1/jobs", json=job_request())).status_code == 403
    assert (await writer.http.post("/v1/jobs", json=job_request())).status_code == 202
    assert (await writer.http.get("/v1/jobs")).status_code == 403
    assert (await reader.http.get("/v1/jobs")).status_code == 200
    assert (await reader.http.get("/v1/deployments")).status_code == 403
    assert (await admin.http.get("/v1/deployments")).status_code == 200
    told = (await admin.http.get("/v1/jobs")).json()
    assert told["error"]["code"] == "missing_scope"


async def test_all_processes_share_a_keys_allowance_through_redis(
    api: Api, settings: Settings, owner: AsyncEngine
) -> None:
    caller = await api.caller("limited", requests_per_minute=3)
    async with running_api(settings, owner) as elsewhere:
        there = httpx.AsyncClient(base_url=elsewhere.running.url, headers=caller.http.headers, trust_env=False)
        async with there:
            statuses = [
                (await client.get("/v1/models")).status_code for client in (caller.http, there, caller.http, there)
            ]
            last = await caller.http.get("/v1/models")
    assert statuses == [200, 200, 200, 429]
    assert 0 < int(last.headers["retry-after-ms"]) <= 61_000
    assert last.headers["x-ratelimit-remaining-requests"] == "0"


async def test_a_limit_holds_without_redis_too(settings: Settings, owner: AsyncEngine) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with running_api(away, owner) as api:
        caller = await api.caller("limited", requests_per_minute=2)
        assert [(await caller.http.get("/v1/models")).status_code for _ in range(3)] == [200, 200, 429]


async def test_models_and_deployments_come_from_the_catalog(api: Api) -> None:
    caller = await api.caller("acme", "jobs:read", "admin")
    models = await caller.get("/v1/models")
    deployments = await caller.get("/v1/deployments")
    embed = next(model for model in models["data"] if model["id"] == "local/embed")
    assert (embed["object"], embed["endpoints"]) == ("model", ["/v1/embeddings"])
    assert {deployment["model"] for deployment in deployments["data"]} == {model["id"] for model in models["data"]}


async def test_ready_names_what_is_missing(api: Api, settings: Settings, owner: AsyncEngine, store: Any) -> None:
    async with httpx.AsyncClient(base_url=api.running.url, trust_env=False) as nobody:
        assert (await nobody.get("/healthz")).json() == {"status": "ok"}
        bare = (await nobody.get("/readyz")).json()
        await store.process()
        served = (await nobody.get("/readyz")).json()
    assert bare["degraded"] == ["lane:interactive", "lane:default", "lane:bulk", "lane:webhooks"]
    assert "lane:default" not in served["degraded"]
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with running_api(away, owner) as alone:
        answer = await exchange(alone.port, b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.status == 200
    assert "redis" in answer.json()["degraded"]


@pytest.mark.parametrize("part", ["committer", "hits"])
async def test_a_process_that_cannot_store_jobs_is_not_ready(api: Api, part: str) -> None:
    async with httpx.AsyncClient(base_url=api.running.url, trust_env=False) as nobody:
        assert (await nobody.get("/readyz")).status_code == 200
        await getattr(api.running.app.state.services, part).stop()
        answer = await nobody.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["degraded"] == ["committer"]
    assert answer.headers["retry-after"] == "1"


async def test_the_front_door_says_where_things_are(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.running.url, trust_env=False) as nobody:
        told = (await nobody.get("/")).json()
        assert told == {"name": "Coatcheck", "docs": "/docs", "openapi": "/openapi.json"}
        assert [(await nobody.get(told[name])).status_code for name in ("docs", "openapi")] == [200, 200]


async def test_deployments_tell_what_their_workers_report(api: Api, owner: AsyncEngine) -> None:
    admin = await api.caller("acme", "admin")
    measured = {
        "in_flight": 2,
        "calls": 10,
        "errors": 1,
        "failing_in_a_row": 0,
        "ttft_ms": {"p50": 1.5, "p95": 2, "p99": 3},
    }
    worker = Presence("worker", ("default",), 60.0)
    name = (await admin.get("/v1/deployments"))["data"][0]["id"]
    await worker.renew(owner, None, {"deployments": {name: measured}})
    await Presence("worker", ("bulk",), 60.0).renew(owner, None, {"deployments": {name: {"in_flight": 1}}})
    page = await admin.get("/v1/deployments")
    answers.DeploymentPage.model_validate(page)
    told, other = page["data"][:2]
    assert (told["workers"], told["health"], told["in_flight"], told["calls"]) == (2, "ok", 3, 10)
    assert told["latency"]["ttft_ms"] == {"p50": 1.5, "p95": 2.0, "p99": 3.0}
    assert told["latency"]["total_ms"] == {"p50": None, "p95": None, "p99": None}
    assert other["health"] == "unknown"


async def test_metrics_are_free_on_this_machine_and_need_admin_behind_a_proxy(api: Api) -> None:
    caller, admin = await api.caller(), await api.caller("acme", "admin")
    await caller.submit()
    async with httpx.AsyncClient(base_url=api.running.url, trust_env=False) as nobody:
        page = await nobody.get("/metrics")
        proxied = await nobody.get("/metrics", headers={"x-forwarded-for": "203.0.113.9"})
    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    depth = {sample.labels["lane"]: sample.value for sample in families["coatcheck_queue_depth"].samples}
    assert {lane: jobs for lane, jobs in depth.items() if jobs} == {"default": 1.0}
    assert "coatcheck_http_requests" in families
    assert proxied.status_code == 401
    by_proxy = {"x-forwarded-for": "203.0.113.9"}
    assert (await caller.http.get("/metrics", headers=by_proxy)).status_code == 403
    assert (await admin.http.get("/metrics", headers=by_proxy)).status_code == 200


@pytest.fixture
def without_postgres(settings: Settings, tmp_path: Path) -> Settings:
    """Settings that lead to a socket where nobody listens."""
    return settings.model_copy(update={"database_url": f"postgresql+asyncpg://coatcheck@/coatcheck?host={tmp_path}"})


async def test_without_postgres_everything_is_503_and_nothing_401(
    without_postgres: Settings, owner: AsyncEngine
) -> None:
    async with running_api(without_postgres, owner) as api:
        headers = {"authorization": "Bearer cc_" + "a" * 43}
        async with httpx.AsyncClient(base_url=api.running.url, headers=headers, trust_env=False) as client:
            for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/readyz"), ("GET", "/v1/models")):
                answer = await client.request(method, path, json=job_request() if method == "POST" else None)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable"), path
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["retry-after-ms"] == "1000"
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/metrics")).status_code == 200


async def test_docs_need_nothing_from_elsewhere(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.running.url, trust_env=False) as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        assert "http://" not in page.text
        assert "https://" not in page.text
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert f"/docs/assets/{asset}" in page.text
            assert (await client.get(f"/docs/assets/{asset}")).status_code == 200
        assert (await client.get("/docs/assets/../app.py")).status_code == 404


async def test_an_absolute_target_has_no_effect_on_urls(api: Api, caller: Caller) -> None:
    body = json.dumps(job_request()).encode()
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {caller.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    answer = await exchange(api.port, head.encode() + body)
    assert answer.status == 202
    assert answer.json()["status_url"].startswith("http://coatcheck.test/")
