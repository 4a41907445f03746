"""The webhook operations over HTTP, with a sending lane beside them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from standardwebhooks import Webhook

from api.app import create_app
from api.routes import webhooks
from api.schemas.webhooks import DeliveryPage, EndpointOut, EndpointPage, EndpointTestOut, EndpointWithSecret
from core import ids
from core.settings import ApiSettings, Settings, WebhookSettings
from core.store.keys import create_key
from tests.integration.webhooks.conftest import Pump, World
from tests.integration.webhooks.receivers import answer, hang, receiving
from tests.support.raw_http import RunningApp
from workers.webhooks.lane import WebhookLane

UNKNOWN = ids.encode(ids.ENDPOINT, UUID(int=7))


@dataclass
class Api:
    world: World
    http: httpx.AsyncClient
    headers: dict[str, dict[str, str]]
    rung: list[str]
    bell: asyncio.Event

    async def endpoint(self, url: str = "https://hooks.example.com/", **more: Any) -> dict[str, Any]:
        answer = await self.http.post("/v1/webhook_endpoints", json={"url": url, **more})
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def stored(self, endpoint: dict[str, Any]) -> Any:
        return await self.world.endpoints.get(self.world.tenant_id, ids.decode("we", endpoint["id"]))


@pytest.fixture
async def api(world: World, settings: Settings) -> AsyncIterator[Api]:
    headers = {}
    for name, tenant, scopes in (
        ("admin", str(world.tenant_id), ("admin",)),
        ("reader", str(world.tenant_id), ("jobs:read", "jobs:write")),
        ("other", f"other than {world.tenant_id}", ("admin",)),
    ):
        made = await create_key(world.owner, world.box, tenant, scopes)
        headers[name] = {"authorization": f"Bearer {made.key}"}
    rung: list[str] = []
    bell = asyncio.Event()

    def ring(lane: str) -> None:
        rung.append(lane)
        bell.set()

    app = create_app(settings, ApiSettings(), WebhookSettings(allow_ranges=("127.0.0.0/8",)))
    async with (
        RunningApp(app) as running,
        httpx.AsyncClient(base_url=running.url, headers=headers["admin"], timeout=30) as http,
    ):
        app.state.services.doorbell.ring = ring
        yield Api(world, http, headers, rung, bell)


async def test_a_created_endpoint_shows_its_secret_once(api: Api) -> None:
    made = await api.endpoint(name="books", event_types=["job.failed", "job.failed", "group.completed"])
    EndpointWithSecret.model_validate(made)
    assert made["event_types"] == ["job.failed", "group.completed"]
    assert Webhook(made["signing_secret"])
    got = (await api.http.get(f"/v1/webhook_endpoints/{made['id']}")).json()
    EndpointOut.model_validate(got)
    assert got == {name: value for name, value in made.items() if name != "signing_secret"}
    assert got["signing_secret_hint"].endswith(made["signing_secret"].rstrip("=")[-4:])
    assert got["enabled"] is True
    assert (await api.endpoint())["name"] is None


BAD_ENDPOINTS: list[dict[str, Any]] = [
    {"url": "http://example.com/"},
    {"url": "https://10.0.0.1/"},
    {"url": "https://localhost.internal/"},
    {"url": "https://169.254.169.254/"},
    {"url": "https://127.1/"},
    {"url": "https://example.com:22/"},
    {"url": "https://user:pw@example.com/"},
    {"url": "https://example.com/" + "a" * 3000},
    {"url": "https://example.com/\r\nX: y"},
    {"url": 7},
    {"url": None},
    {},
    {"url": "https://example.com/", "event_types": []},
    {"url": "https://example.com/", "event_types": ["job.started"]},
    {"url": "https://example.com/", "enabled": "yes"},
    {"url": "https://example.com/", "name": "x" * 201},
    {"url": "https://example.com/", "headers": {"Host": "x"}},
]


async def test_a_bad_endpoint_is_refused_and_not_stored(api: Api) -> None:
    for body in BAD_ENDPOINTS:
        refused = await api.http.post("/v1/webhook_endpoints", json=body)
        assert refused.status_code == 422, body
        assert refused.json()["errors"][0]["pointer"].startswith("/")
    assert (await api.http.get("/v1/webhook_endpoints")).json()["data"] == []


async def test_only_what_is_named_changes(api: Api) -> None:
    made = await api.endpoint(name="a")
    path = f"/v1/webhook_endpoints/{made['id']}"
    changed = (await api.http.patch(path, json={"name": "b", "enabled": False})).json()
    assert (changed["name"], changed["enabled"], changed["url"]) == ("b", False, made["url"])
    assert changed["disabled_reason"] == "disabled"
    assert (await api.http.patch(path, json={})).json() == changed
    assert (await api.http.patch(path, json={"enabled": True})).json()["disabled_reason"] is None
    assert (await api.http.patch(path, json={"name": None})).json()["name"] is None
    refused: tuple[dict[str, Any], ...] = (
        {"url": "http://10.0.0.1/"},
        {"url": ""},
        {"event_types": []},
        {"signing_secret": "whsec_x"},
        {"name": 1},
    )
    for bad in refused:
        assert (await api.http.patch(path, json=bad)).status_code == 422


async def test_switching_off_cancels_what_waits_and_a_new_url_moves_it(api: Api) -> None:
    made = await api.endpoint()
    [moved] = await api.world.event(await api.stored(made))
    path = f"/v1/webhook_endpoints/{made['id']}"
    await api.http.patch(path, json={"url": "https://other.example.com/"})
    assert (await api.world.seen(moved)).url == "https://other.example.com/"
    await api.http.patch(path, json={"enabled": False})
    assert (await api.world.seen(moved)).status == "cancelled"


async def test_a_deleted_endpoint_is_gone(api: Api) -> None:
    made = await api.endpoint()
    path = f"/v1/webhook_endpoints/{made['id']}"
    assert (await api.http.delete(path)).status_code == 204
    assert (await api.http.delete(path)).status_code == 404
    assert (await api.http.get(path)).status_code == 404


async def test_endpoints_are_listed_newest_first_in_pages(api: Api) -> None:
    made = [(await api.endpoint())["id"] for _ in range(5)][::-1]
    first = (await api.http.get("/v1/webhook_endpoints?limit=3")).json()
    EndpointPage.model_validate(first)
    assert [item["id"] for item in first["data"]] == made[:3]
    assert first["has_more"] is True
    rest = (await api.http.get(f"/v1/webhook_endpoints?limit=3&after={first['last_id']}")).json()
    assert [item["id"] for item in rest["data"]] == made[3:]
    assert rest["has_more"] is False


async def test_a_rotation_shows_a_new_secret_and_keeps_the_old_one_if_asked(api: Api) -> None:
    async with receiving() as receiver:
        made = await api.endpoint(receiver.url)
        path = f"/v1/webhook_endpoints/{made['id']}/rotate_secret"
        body = {"keep_old_secret_active_for_24_hours": True}
        new = (await api.http.post(path, json=body)).json()["signing_secret"]
        await api.world.event(await api.stored(made))
        await Pump(api.world.lane()).once()
        for secret in (made["signing_secret"], new):
            assert Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)
        assert (await api.http.post(path)).json()["signing_secret"] not in (new, made["signing_secret"])


async def test_a_test_is_sent_at_once_and_its_acceptance_told(api: Api, pumping: Callable[[WebhookLane], Pump]) -> None:
    async with receiving() as receiver:
        made = await api.endpoint(receiver.url)
        pumping(api.world.lane())
        told = await api.http.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "job.failed"})
        assert told.status_code == 200
        EndpointTestOut.model_validate(told.json())
        assert told.json()["status_code"] == 204
        event = Webhook(made["signing_secret"]).verify(receiver.requests[0].body, receiver.requests[0].headers)
        assert (event["type"], event["object"], event["data"]["test"]) == ("job.failed", "event", True)
        assert event["id"] == receiver.requests[0].headers["webhook-id"]
        assert api.rung == ["webhooks"]


async def test_a_refused_test_names_the_receivers_status_and_is_not_retried(
    api: Api, pumping: Callable[[WebhookLane], Pump]
) -> None:
    async with receiving(answer(503)) as receiver:
        made = await api.endpoint(receiver.url)
        pumping(api.world.lane())
        told = await api.http.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "job.failed"})
        assert told.status_code == 422
        assert told.json()["error"]["code"] == "webhook_test_failed"
        assert "503" in told.json()["detail"]
        [delivery] = (await api.http.get("/v1/webhook_deliveries")).json()["data"]
        assert (delivery["status"], delivery["test"], delivery["tries"]) == ("exhausted", True, 1)


async def test_a_test_passes_a_backlog(api: Api, pumping: Callable[[WebhookLane], Pump]) -> None:
    async with receiving() as receiver:
        made = await api.endpoint(receiver.url)
        stored = await api.stored(made)
        await api.world.event(stored, count=200)
        asking = asyncio.create_task(
            api.http.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "job.failed"})
        )
        await api.bell.wait()
        await Pump(api.world.lane()).once()
        assert (await asking).status_code == 200
        assert len(receiver.requests) == 32


async def test_a_test_that_no_worker_sends_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_TEST_WAIT_S", 0.1)
    made = await api.endpoint()
    told = await api.http.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "job.failed"})
    assert told.status_code == 503
    assert told.headers["retry-after"]
    [delivery] = (await api.http.get("/v1/webhook_deliveries")).json()["data"]
    assert (delivery["status"], delivery["last_error"]) == ("cancelled", "not_sent_in_time")


async def test_the_log_can_be_filtered(api: Api) -> None:
    async with receiving(answer(500)) as receiver:
        one, other = await api.endpoint(receiver.url), await api.endpoint()
        await api.world.event(await api.stored(one), count=3)
        await Pump(api.world.lane()).once()
        await api.world.event(await api.stored(other), count=2)
    job_id = ids.new_id()
    await api.world.sql(
        "UPDATE webhook_events SET job_id = :job WHERE id IN"
        " (SELECT event_id FROM webhook_deliveries WHERE endpoint_id = :one LIMIT 1)",
        job=job_id,
        one=ids.decode("we", one["id"]),
    )

    async def count(query: str) -> int:
        page = (await api.http.get(f"/v1/webhook_deliveries?{query}")).json()
        DeliveryPage.model_validate(page)
        return len(page["data"])

    assert await count("") == 5
    assert await count(f"endpoint_id={one['id']}") == 3
    assert await count(f"job_id={ids.encode('job', job_id)}") == 1
    assert await count("status=pending") == 5
    assert await count("status=delivered") == 0
    [failed] = (await api.http.get(f"/v1/webhook_deliveries?job_id={ids.encode('job', job_id)}")).json()["data"]
    assert (failed["last_status_code"], failed["last_error"], failed["tries"]) == (500, "http_error", 1)
    assert failed["last_duration_ms"] == round(failed["last_duration_ms"], 2)
    assert (await api.http.get(f"/v1/webhook_deliveries/{failed['id']}")).json() == failed
    page = (await api.http.get("/v1/webhook_deliveries?limit=2")).json()
    assert await count(f"after={page['last_id']}") == 3


async def test_a_redelivery_over_http_keeps_the_event(api: Api) -> None:
    async with receiving() as receiver:
        made = await api.endpoint(receiver.url)
        [delivery_id] = await api.world.event(await api.stored(made))
        pump = Pump(api.world.lane())
        await pump.once()
        path = f"/v1/webhook_deliveries/{ids.encode('whd', delivery_id)}/redeliver"
        again = await api.http.post(path)
        assert again.status_code == 202
        assert again.json()["status"] == "pending"
        assert api.rung == ["webhooks"]
        await pump.once()
        assert len(set(receiver.ids())) == 1
        assert len(receiver.requests) == 2
        await api.http.delete(f"/v1/webhook_endpoints/{made['id']}")
        refused = await api.http.post(path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "invalid_state")


async def test_what_is_being_sent_is_not_redelivered(api: Api) -> None:
    async with receiving(hang) as receiver:
        made = await api.endpoint(receiver.url)
        [delivery_id] = await api.world.event(await api.stored(made))
        lane = api.world.lane()
        await lane.claim_and_send(1)
        await receiver.until(lambda r: len(r.requests) == 1)
        assert (
            await api.http.post(f"/v1/webhook_deliveries/{ids.encode('whd', delivery_id)}/redeliver")
        ).status_code == 409


OPERATIONS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/v1/webhook_endpoints/{id}", None),
    ("PATCH", "/v1/webhook_endpoints/{id}", {"name": "mine now"}),
    ("DELETE", "/v1/webhook_endpoints/{id}", None),
    ("POST", "/v1/webhook_endpoints/{id}/rotate_secret", {}),
    ("POST", "/v1/webhook_endpoints/{id}/test", {"event_type": "job.failed"}),
    ("GET", "/v1/webhook_deliveries/{id}", None),
    ("POST", "/v1/webhook_deliveries/{id}/redeliver", None),
]


async def test_another_tenants_things_are_as_good_as_unknown(api: Api) -> None:
    made = await api.endpoint()
    [delivery_id] = await api.world.event(await api.stored(made))
    other = api.headers["other"]
    for method, path, body in OPERATIONS:
        mine = ids.encode("whd", delivery_id) if "deliveries" in path else made["id"]
        answers = []
        for name in (mine, mine[:-8] + "00000000", "nonsense", "job_" + mine.partition("_")[2]):
            told = await api.http.request(method, path.format(id=name), json=body, headers=other)
            answers.append((told.status_code, told.json()["detail"]))
        assert len(set(answers)) == 1, path
        assert answers[0][0] == 404
    for path in ("/v1/webhook_endpoints", "/v1/webhook_deliveries"):
        assert (await api.http.get(path, headers=other)).json()["data"] == []
    assert await api.stored(made) is not None
    assert (await api.world.seen(delivery_id)).status == "pending"


async def test_every_operation_needs_the_admin_scope(api: Api) -> None:
    for method, path, body in [*OPERATIONS, ("GET", "/v1/webhook_deliveries", None)]:
        for headers, status in ((api.headers["reader"], 403), ({"authorization": ""}, 401)):
            refused = await api.http.request(method, path.format(id=UNKNOWN), json=body, headers=headers)
            assert refused.status_code == status, path


BAD_FILTERS = [
    "limit=0",
    "limit=101",
    "limit=-1",
    "limit=x",
    "limit=1e9",
    "after=x",
    "after=job_01h455vb4pex5vsknk084sn02q",
    "status=done",
    "job_id=1",
    "endpoint_id=%00",
    "sort=url",
    "limit=1&limit=2",
]


async def test_a_bad_filter_is_refused(api: Api) -> None:
    for query in BAD_FILTERS:
        assert (await api.http.get(f"/v1/webhook_deliveries?{query}")).status_code == 422, query


async def test_the_operations_are_described(api: Api) -> None:
    described = (await api.http.get("/openapi.json")).json()["paths"]
    operations = {path: set(told) for path, told in described.items() if "webhook" in path}
    assert operations == {
        "/v1/webhook_endpoints": {"get", "post"},
        "/v1/webhook_endpoints/{id}": {"get", "patch", "delete"},
        "/v1/webhook_endpoints/{id}/rotate_secret": {"post"},
        "/v1/webhook_endpoints/{id}/test": {"post"},
        "/v1/webhook_deliveries": {"get"},
        "/v1/webhook_deliveries/{id}": {"get"},
        "/v1/webhook_deliveries/{id}/redeliver": {"post"},
    }
