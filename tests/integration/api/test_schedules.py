"""Schedules over HTTP: what is stored, what is refused, and what a run tells."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest

from api.schemas.schedule_runs import RunOut, RunPage
from api.schemas.schedules import ScheduleOut, SchedulePage
from core import ids
from core.catalog import load
from policies.catalog import Catalog
from tests.support.api import Api, Caller
from tests.support.servers import REPOSITORY
from tests.support.store import PUBLIC_URL, Store
from workers.schedules.clock import ScheduleClock

TEMPLATE: dict[str, Any] = {
    "endpoint": "/v1/chat/completions",
    "body": {
        "model": "sim/fast",
        "messages": [{"role": "user", "content": "What do {{segment}} like about {{category}}?"}],
    },
}
MATRIX = {"segment": ["families", "students"], "category": ["tents", "boots", "stoves"]}
UNKNOWN = ids.encode(ids.SCHEDULE, UUID(int=7))


def schedule(**members: Any) -> dict[str, Any]:
    return {
        "name": "Nightly",
        "kind": "prewarm",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "template": TEMPLATE,
        "matrix": MATRIX,
        **members,
    }


@pytest.fixture
async def admin(api: Api) -> Caller:
    return await api.caller("acme", "admin", "jobs:read")


@pytest.fixture
async def tick(store: Store) -> Callable[[], Awaitable[None]]:
    """What a worker's clock does."""
    catalog: Catalog = load(REPOSITORY / "catalog.toml", "http://127.0.0.1:9")
    clock = ScheduleClock(store.worker, lambda: catalog, PUBLIC_URL, work=lambda _: None)

    async def once() -> None:
        await clock.once()

    return once


async def test_a_schedule_is_kept_as_it_was_handed_in(admin: Caller) -> None:
    sent = schedule(budget={"max_jobs": 100, "max_cost_usd": 1.5}, ttl_s=86400, refresh_before_s=600)
    answer = await admin.http.post("/v1/schedules", json=sent)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    ScheduleOut.model_validate(told)
    assert {name: told[name] for name in sent} == sent
    assert told["object"] == "schedule" and told["id"].startswith("sch_") and told["paused"] is False
    assert answer.headers["location"] == f"/v1/schedules/{told['id']}"
    assert await admin.get(f"/v1/schedules/{told['id']}") == told


async def test_the_next_five_times_are_told_in_utc(admin: Caller) -> None:
    told = await admin.post("/v1/schedules", 201, json=schedule(cron="30 9 * * *", timezone="Asia/Kathmandu"))
    times = [datetime.fromisoformat(time) for time in told["next_runs"]]
    assert len(times) == 5
    assert {(time.hour, time.minute) for time in times} == {(3, 45)}
    assert all(time > datetime.now(UTC) for time in times)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(days=1)}


async def test_defaults_need_not_be_said(admin: Caller) -> None:
    told = await admin.post(
        "/v1/schedules",
        201,
        json={
            "kind": "jobs",
            "cron": "*/5 * * * *",
            "template": {**TEMPLATE, "body": {"model": "sim/fast", "messages": [{"role": "user", "content": "Hi"}]}},
        },
    )
    assert (told["timezone"], told["matrix"], told["budget"], told["name"]) == ("UTC", None, None, "")


async def test_schedules_are_listed_newest_first_and_paged(admin: Caller) -> None:
    made = [(await admin.post("/v1/schedules", 201, json=schedule(name=str(n))))["id"] for n in range(3)]
    page = await admin.get("/v1/schedules", limit=2)
    SchedulePage.model_validate(page)
    assert [item["id"] for item in page["data"]] == made[:0:-1]
    assert page["has_more"] and page["last_id"] == made[1]
    rest = await admin.get("/v1/schedules", after=page["last_id"])
    assert [item["id"] for item in rest["data"]] == made[:1] and not rest["has_more"]


async def test_a_change_changes_what_it_names(admin: Caller) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule())
    path = f"/v1/schedules/{made['id']}"
    answer = await admin.http.patch(path, json={"paused": True, "name": "Asleep"})
    told = answer.json()
    assert answer.status_code == 200, answer.text
    assert (told["paused"], told["next_runs"], told["name"], told["cron"]) == (True, [], "Asleep", "0 3 * * *")
    told = (await admin.http.patch(path, json={"paused": False, "cron": "0 4 * * *", "timezone": "UTC"})).json()
    assert len(told["next_runs"]) == 5 and told["next_runs"][0].endswith("T04:00:00.000Z")
    told = (await admin.http.patch(path, json={"budget": {"max_tokens": 5}})).json()
    assert told["budget"] == {"max_tokens": 5}
    assert (await admin.http.patch(path, json={"budget": None})).json()["budget"] is None
    assert (await admin.http.patch(path, json={})).json()["name"] == "Asleep"


async def test_a_change_that_leaves_the_times_alone_does_not_pass_over_one_that_is_due(
    admin: Caller, store: Store, tick: Callable[[], Awaitable[None]]
) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule())
    await store.sql("UPDATE schedules SET next_run_at = now() - interval '1 s'")
    answer = await admin.http.patch(f"/v1/schedules/{made['id']}", json={"paused": False, "name": "Renamed"})
    assert answer.status_code == 200
    await tick()
    assert len((await admin.get(f"/v1/schedules/{made['id']}/runs"))["data"]) == 1


async def test_two_changes_at_once_do_not_mix(admin: Caller) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule())
    path = f"/v1/schedules/{made['id']}"
    other = {**TEMPLATE, "body": {**TEMPLATE["body"], "messages": [{"role": "user", "content": "{{only}}"}]}}
    answers = await asyncio.gather(
        *(admin.http.patch(path, json={"template": other, "matrix": {"only": [str(n)]}}) for n in range(4))
    )
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 409} and 200 in statuses
    told = await admin.get(path)
    assert told["template"] == other and list(told["matrix"]) == ["only"]


async def test_a_change_is_checked_with_what_stays(admin: Caller) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule())
    answer = await admin.http.patch(f"/v1/schedules/{made['id']}", json={"matrix": {"segment": ["a"]}})
    assert answer.status_code == 422
    assert "category" in answer.json()["detail"]


async def test_a_deleted_schedule_is_gone(admin: Caller) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule())
    path = f"/v1/schedules/{made['id']}"
    assert (await admin.http.delete(path)).status_code == 204
    for method, where in (("GET", path), ("DELETE", path), ("POST", path + "/run"), ("GET", path + "/runs")):
        assert (await admin.http.request(method, where)).status_code == 404
    assert (await admin.http.patch(path, json={"paused": True})).status_code == 404


async def test_a_schedule_deleted_while_it_is_started_is_gone_or_has_begun_and_never_an_error(admin: Caller) -> None:
    for _ in range(20):
        made = await admin.post("/v1/schedules", 201, json=schedule(paused=True))
        path = f"/v1/schedules/{made['id']}"
        started, deleted = await asyncio.gather(admin.http.post(path + "/run"), admin.http.delete(path))
        assert (started.status_code in (202, 404), deleted.status_code) == (True, 204), started.text


async def test_run_now_makes_the_jobs_and_tells_of_them(
    admin: Caller, store: Store, tick: Callable[[], Awaitable[None]]
) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule(paused=True))
    path = f"/v1/schedules/{made['id']}"
    run = await admin.post(path + "/run", 202)
    RunOut.model_validate(run)
    assert (run["status"], run["trigger"], run["planned"], run["submitted"]) == ("running", "manual", 6, 0)
    again = await admin.http.post(path + "/run")
    assert again.status_code == 409 and run["id"] in again.json()["detail"]
    await tick()
    worker = await store.process()
    claimed = await worker.claim(lane="prewarm")
    assert len(claimed) == 6
    await worker.succeed(*claimed[:4])
    [running] = (await admin.get(path + "/runs"))["data"]
    assert (running["status"], running["submitted"], running["succeeded"]) == ("running", 6, 4)
    await worker.fail(*claimed[4:])
    page = await admin.get(path + "/runs")
    RunPage.model_validate(page)
    [ended] = page["data"]
    assert (ended["status"], ended["succeeded"], ended["failed"], ended["over_budget"]) == ("completed", 4, 2, 0)
    jobs = await admin.get("/v1/jobs", schedule_id=made["id"])
    assert len(jobs["data"]) == 6
    assert {job["schedule_id"] for job in jobs["data"]} == {made["id"]}
    group = await admin.get(f"/v1/groups/{run['group_id']}")
    assert (group["status"], group["total"]) == ("completed", 6)


async def test_filled_templates_are_what_jobs_ask(
    admin: Caller, store: Store, tick: Callable[[], Awaitable[None]]
) -> None:
    template = {
        "endpoint": "{{endpoint}}",
        "body": {
            "model": "sim/fast",
            "messages": [{"role": "user", "content": "{{word}} {{n}}"}],
            "max_tokens": "{{n}}",
        },
        "lane": "bulk",
        "priority": 7,
        "metadata": {"for": "{{word}}"},
        "webhook": {"url": "https://example.com/x"},
    }
    matrix = {"endpoint": ["/v1/chat/completions"], "word": ["a"], "n": [5]}
    made = await admin.post("/v1/schedules", 201, json=schedule(kind="jobs", template=template, matrix=matrix))
    await admin.post(f"/v1/schedules/{made['id']}/run", 202)
    await tick()
    [listed] = (await admin.get("/v1/jobs", schedule_id=made["id"]))["data"]
    job = await store.job(ids.decode(ids.JOB, listed["id"]))
    assert job.body == '{"model":"sim/fast","messages":[{"role":"user","content":"a 5"}],"max_tokens":5}'
    assert (job.lane, job.priority, job.metadata, job.webhook) == (
        "bulk", 7, '{"for": "a"}', '{"url": "https://example.com/x"}',
    )  # fmt: skip


async def test_keep_warm_is_stored_with_its_defaults(admin: Caller) -> None:
    sent = {"kind": "keep_warm", "cron": "0 8 * * 1-5", "template": {"models": ["sim/fast"]}}
    told = await admin.post("/v1/schedules", 201, json=sent)
    assert told["template"] == {"models": ["sim/fast"], "deployments": [], "window_s": 3600.0, "every_s": 45.0}
    run = await admin.post(f"/v1/schedules/{told['id']}/run", 202)
    assert (run["planned"], run["group_id"], run["status"]) == (0, None, "running")


@pytest.mark.parametrize("model", ["auto", "auto:fast"])
async def test_a_template_may_leave_the_model_to_each_request(
    api: Api, admin: Caller, store: Store, tick: Callable[[], Awaitable[None]], model: str
) -> None:
    words = ["Say hello.", "Prove that sqrt(2)+sqrt(3) is irrational."]
    body = {"model": model, "messages": [{"role": "user", "content": "{{words}}"}]}
    made = await admin.post(
        "/v1/schedules", 201, json=schedule(template={**TEMPLATE, "body": body}, matrix={"words": words})
    )
    await admin.post(f"/v1/schedules/{made['id']}/run", 202)
    await tick()
    caller = await api.caller("acme")
    listed = (await admin.get("/v1/jobs", schedule_id=made["id"]))["data"]
    assert {job["model"] for job in listed} == {model}
    for job in listed:
        row = await store.job(ids.decode(ids.JOB, job["id"]))
        live = await caller.post("/v1/route", 200, {"endpoint": row.endpoint, "body": orjson.loads(row.body)})
        assert (row.route_model, job["route"]["tier"]) == (live["model"], live["tier"])
    assert len({job["route"]["tier"] for job in listed}) == 2


@pytest.mark.parametrize("template", [{}, {"endpoint": "/v1/chat/completions"}, {"body": {"model": "sim/fast"}}])
async def test_a_learned_schedule_is_kept_as_it_was_handed_in(admin: Caller, template: dict[str, Any]) -> None:
    sent = schedule(matrix="learned", template=template, budget={"max_jobs": 50})
    told = await admin.post("/v1/schedules", 201, json=sent)
    ScheduleOut.model_validate(told)
    assert {name: told[name] for name in sent} == sent
    path = f"/v1/schedules/{told['id']}"
    assert (await admin.http.patch(path, json={"cron": "0 4 * * *"})).json()["matrix"] == "learned"
    changed = await admin.http.patch(path, json={"matrix": MATRIX, "template": TEMPLATE})
    assert (changed.status_code, changed.json()["matrix"]) == (200, MATRIX)
    back = await admin.http.patch(path, json={"matrix": "learned"})
    assert back.status_code == 422
    assert "/template/body/messages" in [fault["pointer"] for fault in back.json()["errors"]]


async def test_a_learned_run_tells_what_it_chose(admin: Caller, tick: Callable[[], Awaitable[None]]) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule(matrix="learned", template={}))
    path = f"/v1/schedules/{made['id']}"
    run = await admin.post(path + "/run", 202)
    RunOut.model_validate(run)
    assert (run["status"], run["planned"], run["group_id"], run["choices"]) == ("running", 0, None, None)
    await tick()
    page = await admin.get(path + "/runs")
    RunPage.model_validate(page)
    [ended] = page["data"]
    assert (ended["status"], ended["reason"], ended["choices"]) == ("completed", "nothing_likely", [])


BODY = TEMPLATE["body"]
CONVERSATION = {"model": "sim/chat", "input": "{{segment}} {{category}}", "conversation": "conv_1"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"cron": "0 25 * * *"}, "/cron"),
    ({"cron": "@daily"}, "/cron"),
    ({"cron": "0 0 30 2 *"}, "/cron"),
    ({"cron": 5}, "/cron"),
    ({"timezone": "Mars/Olympus"}, "/timezone"),
    ({"timezone": "../../etc/passwd"}, "/timezone"),
    ({"timezone": "Europe"}, "/timezone"),
    ({"kind": "cron"}, "/kind"),
    ({"paused": "no"}, "/paused"),
    ({"name": "x" * 201}, "/name"),
    ({"colour": "red"}, "/colour"),
    ({"template": []}, "/template"),
    ({"template": {**TEMPLATE, "colour": 1}}, "/template/colour"),
    ({"template": {**TEMPLATE, "run_at": "2027-01-01T00:00:00Z"}}, "/template/run_at"),
    ({"template": {**TEMPLATE, "delay_s": 5}}, "/template/delay_s"),
    ({"template": {**TEMPLATE, "endpoint": "/v1/nothing"}}, "/template/endpoint"),
    ({"template": {**TEMPLATE, "lane": "interactive"}}, "/template/lane"),
    ({"template": {**TEMPLATE, "cache": {"mode": "only"}}}, "/template/cache/mode"),
    ({"template": {**TEMPLATE, "cache": {"mode": "off"}}}, "/template/cache/mode"),
    ({"template": {**TEMPLATE, "endpoint": "/v1/responses", "body": CONVERSATION}}, "/template/body"),
    ({"template": {**TEMPLATE, "body": {**BODY, "model": "nobody/knows"}}}, "/template/body/model"),
    ({"template": {**TEMPLATE, "body": {**BODY, "model": "auto:nothing"}}}, "/template/body/model"),
    ({"template": {**TEMPLATE, "body": {**BODY, "user": "{{nobody}}"}}}, "/template/body/user"),
    ({"template": {**TEMPLATE, "priority": "{{segment}}"}}, "/template/priority"),
    ({"template": {**TEMPLATE, "webhook": {"url": "http://127.0.0.1/"}}}, "/template/webhook/url"),
    ({"template": {**TEMPLATE, "metadata": {"x": "y" * 300_000}}}, "/template"),
    ({"matrix": {**MATRIX, "more": []}}, "/matrix/more"),
    ({"matrix": {**MATRIX, "more": [None]}}, "/matrix/more/0"),
    ({"matrix": {**MATRIX, "more": [["a"]]}}, "/matrix/more/0"),
    ({"matrix": {**MATRIX, "1st": ["a"]}}, "/matrix"),
    ({"matrix": {**MATRIX, "more": list(range(2000))}}, "/matrix"),
    ({"matrix": "learned"}, "/template/body/messages"),
    ({"matrix": "learnt"}, "/matrix"),
    ({"matrix": "learned", "kind": "jobs", "template": {}}, "/matrix"),
    ({"matrix": "learned", "template": {"lane": "bulk"}}, "/template/lane"),
    ({"matrix": "learned", "template": {"endpoint": "/v1/nothing"}}, "/template/endpoint"),
    ({"matrix": "learned", "template": {"body": {"model": "nobody/knows"}}}, "/template/body/model"),
    ({"budget": {"max_jobs": 0}}, "/budget/max_jobs"),
    ({"budget": {"max_jobs": 10_001}}, "/budget/max_jobs"),
    ({"budget": {"max_tokens": 1.5}}, "/budget/max_tokens"),
    ({"budget": {"max_cost_usd": 0}}, "/budget/max_cost_usd"),
    ({"budget": {"max_cost_usd": True}}, "/budget/max_cost_usd"),
    ({"budget": {"max_cost_usd": "0.00"}}, "/budget/max_cost_usd"),
    ({"budget": {"max_cost_usd": "lots"}}, "/budget/max_cost_usd"),
    ({"budget": {"max_love": 1}}, "/budget/max_love"),
    ({"ttl_s": 0}, "/ttl_s"),
    ({"refresh_before_s": -1}, "/refresh_before_s"),
    ({"kind": "keep_warm"}, "/matrix"),
    ({"kind": "keep_warm", "matrix": None}, "/template/endpoint"),
    ({"kind": "keep_warm", "matrix": None, "template": {}}, "/template"),
    ({"kind": "keep_warm", "matrix": None, "template": {"models": ["none/such"]}}, "/template/models/0"),
    ({"kind": "keep_warm", "matrix": None, "template": {"deployments": ["none"]}}, "/template/deployments/0"),
    ({"kind": "keep_warm", "matrix": None, "template": {"models": ["sim/fast"], "every_s": 1}}, "/template/every_s"),
]


@pytest.mark.parametrize(("members", "where"), BAD, ids=lambda value: str(value)[:60])
async def test_what_makes_no_sense_is_refused_by_name(admin: Caller, members: dict[str, Any], where: str) -> None:
    answer = await admin.http.post("/v1/schedules", json=schedule(**members))
    told = answer.json()
    assert answer.status_code == 422, answer.text
    assert where in [fault["pointer"] for fault in told["errors"]], told
    assert (await admin.get("/v1/schedules"))["data"] == []


async def test_a_combination_that_makes_a_bad_job_is_named(admin: Caller) -> None:
    template = {**TEMPLATE, "body": {**BODY, "max_tokens": "{{n}}"}}
    answer = await admin.http.post(
        "/v1/schedules", json=schedule(template=template, matrix={**MATRIX, "n": [5, "many"]})
    )
    assert answer.status_code == 422
    assert 'n="many"' in answer.json()["detail"]


async def test_schedules_need_the_scope_admin_and_stay_with_their_tenant(api: Api, admin: Caller) -> None:
    made = await admin.post("/v1/schedules", 201, json=schedule())
    writer, stranger = await api.caller("acme"), await api.caller("other", "admin")
    for method, path in (
        ("GET", "/v1/schedules"),
        ("GET", f"/v1/schedules/{made['id']}"),
        ("DELETE", f"/v1/schedules/{made['id']}"),
        ("POST", f"/v1/schedules/{made['id']}/run"),
        ("GET", f"/v1/schedules/{made['id']}/runs"),
    ):
        assert (await writer.http.request(method, path)).status_code == 403
        if made["id"] in path:
            assert (await stranger.http.request(method, path)).status_code == 404
    assert (await stranger.get("/v1/schedules"))["data"] == []


@pytest.mark.parametrize("name", [UNKNOWN, "sch_x", "job_01h455vb4pex5vsknk084sn02q", "%00"])
async def test_what_is_no_schedule_is_not_found(admin: Caller, name: str) -> None:
    for path in (f"/v1/schedules/{name}", f"/v1/schedules/{name}/runs"):
        assert (await admin.http.get(path)).status_code == 404


async def test_queries_that_mean_nothing_are_refused(admin: Caller) -> None:
    for query in ({"limit": "0"}, {"after": "job_1"}, {"paused": "true"}):
        assert (await admin.http.get("/v1/schedules", params=query)).status_code == 422
