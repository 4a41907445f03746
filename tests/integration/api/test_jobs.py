"""Jobs over HTTP: accepted durably, read, listed, moved, deleted, and nobody else's."""

import asyncio
import json
from typing import Any

import pytest

from api.schemas import answers
from core import ids
from core.render import TIMING
from core.store.moves import cancel_jobs
from tests.support.api import Api, Caller, job_request
from tests.support.raw_http import until
from tests.support.store import Store


def as_uuid(job: dict[str, Any]) -> Any:
    return ids.decode(ids.JOB, job["id"])


async def finish(store: Store, *jobs: dict[str, Any]) -> None:
    """Let a worker process finish all waiting jobs of the lane `default`."""
    process = await store.process()
    await process.succeed(*await process.claim())
    assert all([await store.status(as_uuid(job)) == "succeeded" for job in jobs])


async def test_an_accepted_job_is_stored_and_looks_like_its_schema(caller: Caller, store: Store) -> None:
    answer = await caller.http.post("/v1/jobs", json=job_request(metadata={"a": "b"}, lane="bulk", priority=9))
    job = answer.json()
    row = await store.job(as_uuid(job))
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["vary"] == "prefer"
    assert job["status_url"] == f"http://coatcheck.test/v1/jobs/{job['id']}"
    assert (row.lane, row.priority, row.status) == ("bulk", 9, "queued")
    answers.Job.model_validate(job)
    read = await caller.get(f"/v1/jobs/{job['id']}")
    answers.Job.model_validate(read)
    assert read == {**job, "queue_position": 1}


async def test_a_job_beyond_the_limit_of_its_key_is_accepted_and_waits_behind_the_key(
    caller: Caller, store: Store
) -> None:
    request = job_request(concurrency_key="user-1", concurrency_limit=1)
    first, second = [await caller.post("/v1/jobs", 202, request) for _ in range(2)]
    assert (await caller.get(f"/v1/jobs/{second['id']}"))["queue_position"] == 2
    assert await store.places(as_uuid(second)) == ["held_back"]
    cancelled = await caller.post(f"/v1/jobs/{first['id']}/cancel", 200)
    assert cancelled["status"] == "cancelled"
    assert await store.places(as_uuid(second)) == ["ready"]


async def test_unknown_members_of_the_body_pass_through_to_the_letter(caller: Caller, store: Store) -> None:
    text = 'e\u0301 \u202e {{x}} %s <b> "\n" \U0001f600 \ufdd0'
    request = job_request(text)
    request["body"] |= {"vendor_thing": {"deep": [1, 2.5, None]}, "seed": 2**63 - 1}
    job = await caller.post("/v1/jobs", 202, request)
    row = await store.rows("SELECT body::text AS body FROM jobs WHERE id = :id", id=as_uuid(job))
    assert json.loads(row[0].body) == request["body"]


async def test_the_trace_and_the_request_id_go_with_the_job(caller: Caller, store: Store) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": "abc"}
    answer = await caller.http.post("/v1/jobs", json=job_request(), headers=headers)
    row = await store.job(as_uuid(answer.json()))
    assert row.traceparent.split("-")[1] == trace
    assert row.request_id == "abc"


async def test_the_same_key_and_payload_answer_with_the_first_job(caller: Caller, store: Store) -> None:
    headers = {"idempotency-key": "once"}
    first = await caller.http.post("/v1/jobs", json=job_request(), headers=headers)
    request = job_request()
    reordered = {name: request[name] for name in reversed(list(request))}
    again = await caller.http.post("/v1/jobs", json=reordered, headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert await store.statuses() == {"queued": 1}


async def test_the_same_key_with_another_payload_is_422_and_another_tenant_has_its_own_keys(
    api: Api, store: Store
) -> None:
    one, other = await api.caller("one"), await api.caller("other")
    headers = {"idempotency-key": "once"}
    await one.http.post("/v1/jobs", json=job_request(), headers=headers)
    conflict = await one.http.post("/v1/jobs", json=job_request("else"), headers=headers)
    independent = await other.http.post("/v1/jobs", json=job_request("else"), headers=headers)
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert independent.status_code == 202
    assert await store.statuses() == {"queued": 2}


async def test_the_key_of_a_deleted_job_says_so(caller: Caller, store: Store) -> None:
    headers = {"idempotency-key": "once"}
    job = (await caller.http.post("/v1/jobs", json=job_request(), headers=headers)).json()
    await finish(store, job)
    await caller.http.delete(f"/v1/jobs/{job['id']}")
    again = await caller.http.post("/v1/jobs", json=job_request(), headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (422, "original_deleted")
    assert "was deleted" in again.json()["detail"]
    assert await store.statuses() == {}


async def test_a_storm_of_one_key_makes_one_job(caller: Caller, store: Store) -> None:
    requests = [
        caller.http.post("/v1/jobs", json=job_request(), headers={"idempotency-key": "storm"}) for _ in range(60)
    ]
    answers_ = await asyncio.gather(*requests)
    accepted = {answer.json()["id"] for answer in answers_ if answer.status_code == 202}
    assert {answer.status_code for answer in answers_} <= {202, 409}
    assert len(accepted) == 1
    assert await store.statuses() == {"queued": 1}


async def test_prefer_wait_answers_200_at_the_end_and_202_without_one(api: Api, caller: Caller, store: Store) -> None:
    request = asyncio.create_task(caller.http.post("/v1/jobs", json=job_request(), headers={"prefer": "wait=20"}))
    hub = api.running.app.state.services.hub
    await until(lambda: hub.waiting > 0)
    while not (await store.statuses()).get("queued"):
        pass
    await finish(store)
    done = await request
    late = await caller.http.post("/v1/jobs", json=job_request(), headers={"prefer": "respond-async, wait=0"})
    assert done.status_code == 200
    assert done.json()["result"] == {"object": "chat.completion"}
    assert done.headers["preference-applied"] == "wait=20"
    assert (late.status_code, late.headers["preference-applied"]) == (202, "wait=0")


async def test_a_long_poll_ends_with_the_job_and_holds_no_connection_meanwhile(
    api: Api, caller: Caller, store: Store
) -> None:
    job = await caller.submit()
    polls = [asyncio.create_task(caller.get(f"/v1/jobs/{job['id']}", wait=30)) for _ in range(40)]
    services = api.running.app.state.services
    await until(lambda: services.hub.waiting == 40 and not services.engine.pool.checkedout())
    await finish(store, job)
    assert {answer["status"] for answer in await asyncio.gather(*polls)} == {"succeeded"}


async def test_an_etag_saves_the_body_until_the_job_moves(caller: Caller, store: Store) -> None:
    job = await caller.submit()
    path = f"/v1/jobs/{job['id']}"
    first = await caller.http.get(path)
    same = await caller.http.get(path, headers={"if-none-match": first.headers["etag"]})
    await finish(store, job)
    moved = await caller.http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert first.headers["etag"].startswith('W/"')
    assert first.headers["retry-after"] == "1"
    assert first.headers["openai-poll-after-ms"] == "1000"
    assert {answer.headers["cache-control"] for answer in (first, same, moved)} == {"no-store"}
    assert (same.status_code, same.content) == (304, b"")
    assert moved.status_code == 200
    assert not {"retry-after", "openai-poll-after-ms"} & moved.headers.keys()


async def test_pages_go_through_all_jobs_newest_first(caller: Caller) -> None:
    made = [(await caller.submit())["id"] for _ in range(7)]
    page = await caller.get("/v1/jobs", limit=3)
    answers.JobPage.model_validate(page)
    seen = [job["id"] for job in page["data"]]
    while page["has_more"]:
        page = await caller.get("/v1/jobs", limit=3, after=page["last_id"])
        seen += [job["id"] for job in page["data"]]
    assert seen == made[::-1]
    assert await caller.get("/v1/jobs", after=made[0]) == {
        "object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None,
    }  # fmt: skip


async def test_a_page_goes_on_behind_a_job_that_is_gone_or_foreign(api: Api, caller: Caller, store: Store) -> None:
    oldest, deleted = await caller.submit(), await caller.submit()
    await finish(store, oldest, deleted)
    foreign = await (await api.caller("other")).submit()
    newest = await caller.submit()
    assert (await caller.http.delete(f"/v1/jobs/{deleted['id']}")).status_code == 204
    for after in (deleted, foreign):
        assert [job["id"] for job in (await caller.get("/v1/jobs", after=after["id"]))["data"]] == [oldest["id"]]
    unknown = ids.encode(ids.JOB, ids.new_id())
    assert [job["id"] for job in (await caller.get("/v1/jobs", after=unknown))["data"]] == [newest["id"], oldest["id"]]


async def test_head_of_a_job_and_of_its_events_is_answered_at_once(caller: Caller) -> None:
    job = await caller.submit()
    path = f"/v1/jobs/{job['id']}"
    got = await caller.http.get(path)
    answer = await caller.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == got.headers["etag"]
    assert int(answer.headers["content-length"]) == len(got.content)
    assert (await caller.http.head(path, headers={"if-none-match": got.headers["etag"]})).status_code == 304
    stream = await caller.http.head(path + "/events")
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (await caller.http.head("/docs/assets/swagger-ui.css")).status_code == 200
    assert (await caller.http.get(path)).status_code == 200, "the connection is in order"


async def test_what_was_not_measured_yet_is_null_within_timing(caller: Caller) -> None:
    job = await caller.submit()
    cancelled = await caller.post(f"/v1/jobs/{job['id']}/cancel")
    members = {name for name, field in answers.Timing.model_fields.items() if field.is_required()}
    assert job["timing"] == cancelled["timing"] == dict.fromkeys(members)
    assert set(TIMING) == members


async def test_filters_pick_what_they_name(caller: Caller, store: Store) -> None:
    plain = await caller.submit()
    await finish(store, plain)
    tagged = await caller.submit(metadata={"customer": "42", "a b": "ü"}, lane="bulk", model="sim/slow")
    wanted = {
        "status": ("succeeded", plain),
        "lane": ("bulk", tagged),
        "model": ("sim/slow", tagged),
        "metadata[customer]": ("42", tagged),
        "metadata[a b]": ("ü", tagged),
        "created_before": (tagged["created_at"], plain),
        "created_after": (plain["created_at"], tagged),
    }
    for name, (value, job) in wanted.items():
        found = [entry["id"] for entry in (await caller.get("/v1/jobs", **{name: value}))["data"]]
        assert job["id"] in found, name
        assert len(found) == 1 or name == "created_after", name
    assert (await caller.get("/v1/jobs", **{"metadata[customer]": "43"}))["data"] == []
    assert len((await caller.get("/v1/jobs", endpoint="/v1/chat/completions"))["data"]) == 2


async def test_the_ends_of_the_calendar_are_moments_like_others(caller: Caller) -> None:
    job = await caller.submit()
    found = await caller.get("/v1/jobs", created_after="0001-01-01T00:00:00Z", created_before="9999-12-31T23:59:59Z")
    assert [entry["id"] for entry in found["data"]] == [job["id"]]


async def test_a_large_result_is_left_out_of_pages_only(caller: Caller, store: Store) -> None:
    job = await caller.submit()
    process = await store.process()
    await process.succeed(*await process.claim(), result='{"text":"' + "x" * 70_000 + '"}')
    listed = (await caller.get("/v1/jobs"))["data"][0]
    assert (listed["result"], listed["result_omitted"]) == (None, True)
    assert len((await caller.get(f"/v1/jobs/{job['id']}"))["result"]["text"]) == 70_000


async def test_cancelling_twice_answers_alike_and_a_finished_job_stays_finished(caller: Caller, store: Store) -> None:
    job, done = await caller.submit(), await caller.submit(lane="bulk")
    process = await store.process()
    await process.succeed(*await process.claim(lane="bulk"))
    first = await caller.post(f"/v1/jobs/{job['id']}/cancel")
    assert first["status"] == "cancelled"
    assert await caller.post(f"/v1/jobs/{job['id']}/cancel") == first
    assert (await caller.post(f"/v1/jobs/{done['id']}/cancel"))["status"] == "succeeded"


async def test_only_ended_jobs_that_did_not_succeed_can_be_retried(caller: Caller, store: Store) -> None:
    job = await caller.submit(max_attempts=1)
    path = f"/v1/jobs/{job['id']}/retry"
    assert (await caller.post(path, 409))["error"]["code"] == "invalid_state"
    process = await store.process()
    await process.fail(*await process.claim())
    again = await caller.post(path)
    assert (again["status"], again["error"], again["max_attempts"]) == ("queued", None, 2)
    assert again["queue_position"] is None
    await finish(store, job)
    assert (await caller.post(path, 409))["error"]["code"] == "invalid_state"
    attempts = await caller.get(f"/v1/jobs/{job['id']}/attempts")
    answers.AttemptPage.model_validate(attempts)
    assert [attempt["outcome"] for attempt in attempts["data"]] == ["failed", "succeeded"]


async def test_only_ended_jobs_can_be_deleted_and_then_they_are_gone(caller: Caller, store: Store) -> None:
    job = await caller.submit()
    path = f"/v1/jobs/{job['id']}"
    assert (await caller.http.delete(path)).status_code == 409
    await finish(store, job)
    gone = await caller.http.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        await caller.http.delete(path),
        await caller.http.get(path),
        await caller.http.get(path + "/events"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{job}"),
        ("GET", "/v1/jobs/{job}?wait=1"),
        ("GET", "/v1/jobs/{job}/events"),
        ("GET", "/v1/jobs/{job}/attempts"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("POST", "/v1/jobs/{job}/retry"),
        ("DELETE", "/v1/jobs/{job}"),
        ("GET", "/v1/groups/{group}"),
        ("POST", "/v1/groups/{group}/cancel"),
    ],
)
async def test_foreign_objects_answer_exactly_as_unknown_ones(api: Api, store: Store, method: str, path: str) -> None:
    owner, stranger = await api.caller("owner"), await api.caller("stranger")
    group = await owner.post("/v1/jobs/bulk", 202, [job_request()])
    job = (await owner.get("/v1/jobs"))["data"][0]
    foreign = await stranger.http.request(method, path.format(job=job["id"], group=group["id"]))
    nobody = path.format(job=ids.encode(ids.JOB, ids.new_id()), group=ids.encode(ids.GROUP, ids.new_id()))
    unknown = await stranger.http.request(method, nobody)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["error"] == unknown.json()["error"]
    assert foreign.json().keys() == unknown.json().keys()
    assert await store.status(as_uuid(job)) == "queued"
    assert (await stranger.get("/v1/jobs"))["data"] == []
    assert (await stranger.get("/v1/jobs", group_id=group["id"]))["data"] == []


@pytest.mark.parametrize(
    "text",
    [
        "{id}",
        "urn:uuid:{id}",
        "{hex}",
        "JOB_01H455VB4PEX5VSKNK084SN02Q",
        "grp_01h455vb4pex5vsknk084sn02q",
        "job_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "job_",
        "1",
    ],
)
async def test_only_the_canonical_text_of_an_id_names_a_job(caller: Caller, text: str) -> None:
    job = as_uuid(await caller.submit())
    answer = await caller.http.get("/v1/jobs/" + text.format(id=job, hex=job.hex))
    assert answer.status_code == 404


async def test_a_caller_is_told_when_something_else_cancels_the_job(api: Api, caller: Caller, store: Store) -> None:
    job = await caller.submit()
    poll = asyncio.create_task(caller.get(f"/v1/jobs/{job['id']}", wait=30))
    await cancel_jobs(store.api, caller.tenant_id, [as_uuid(job)], "http://x")
    assert (await poll)["status"] == "cancelled"
