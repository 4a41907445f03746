"""Many jobs at once: all or none, each fault named, and one group that counts them."""

import json
from typing import Any

import pytest

from api.schemas import answers
from core.lifecycle import Status
from tests.support.api import Api, Caller, job_request, running_api
from tests.support.store import Store

NDJSON = {"content-type": "application/x-ndjson"}


def lines(*requests: Any) -> bytes:
    return b"\n".join(request if isinstance(request, bytes) else json.dumps(request).encode() for request in requests)


def counts(**by_state: int) -> dict[str, int]:
    """All states, those not named without jobs."""
    return dict.fromkeys(Status, 0) | by_state


async def test_an_array_and_lines_make_a_group_each(caller: Caller, store: Store) -> None:
    requests = [job_request(str(n), lane="bulk") for n in range(30)]
    array = await caller.http.post("/v1/jobs/bulk", json=requests)
    by_line = await caller.http.post("/v1/jobs/bulk", content=lines(*requests) + b"\n\n", headers=NDJSON)
    for answer in (array, by_line):
        assert answer.status_code == 202, answer.text
        group = answer.json()
        answers.Group.model_validate(group)
        assert answer.headers["location"] == f"/v1/groups/{group['id']}"
        assert (group["status"], group["total"], group["counts"]) == ("running", 30, counts(queued=30))
        assert await caller.get(f"/v1/groups/{group['id']}") == group
        assert len((await caller.get("/v1/jobs", group_id=group["id"], limit=100))["data"]) == 30
    assert await store.statuses() == {"queued": 60}


async def test_every_bad_line_is_named_and_nothing_is_stored(caller: Caller, store: Store) -> None:
    requests: list[Any] = [job_request() for _ in range(40)]
    requests[31] = {"endpoint": "/v1/chat/completions", "body": []}
    requests[33] = b"not json"
    requests[35] = job_request(priority="5", lane="x")
    answer = await caller.http.post("/v1/jobs/bulk", content=lines(*requests), headers=NDJSON)
    told = answer.json()
    assert answer.status_code == 422
    named = {(fault["pointer"], fault["line"]) for fault in told["errors"]}
    assert named == {("/31/body", 32), ("/33", 34), ("/35/priority", 36), ("/35/lane", 36)}
    assert await store.statuses() == {}


async def test_bad_items_of_an_array_are_named_too(caller: Caller, store: Store) -> None:
    told = await caller.post("/v1/jobs/bulk", 422, [job_request(), 1, job_request(model="none")])
    assert [fault["pointer"] for fault in told["errors"]] == ["/1", "/2/body/model"]
    assert [fault["line"] for fault in told["errors"]] == [2, 3]
    assert told["detail"] == "Nothing was accepted: 2 of 3 jobs are not valid."
    told = await caller.post("/v1/jobs/bulk", 422, [job_request(), 1])
    assert told["detail"] == "Nothing was accepted: 1 of 2 jobs is not valid."
    assert await store.statuses() == {}


GOOD = json.dumps(job_request(cache={"mode": "off"}))


@pytest.mark.parametrize(
    ("bad", "code", "detail"),
    [
        ('{"a": NaN}', "invalid_number", "NaN is not JSON."),
        ('{"a": "\\u0000"}', "invalid_text", "The character NUL is not accepted."),
        ('{"a": 1, "a": 2}', "duplicate_key", "The member 'a' is there more than once."),
        ('{"a" 1}', "invalid_json", None),
        ("{}{}", "invalid_json", None),
    ],
)
async def test_json_that_is_wrong_within_an_item_is_pointed_at(
    caller: Caller, store: Store, bad: str, code: str, detail: str | None
) -> None:
    json_array = f" [{GOOD}, {GOOD} ,\n{bad}, {GOOD}]".encode()
    answer = await caller.http.post("/v1/jobs/bulk", content=json_array, headers={"content-type": "application/json"})
    by_line = await caller.http.post("/v1/jobs/bulk", content=f"{GOOD}\n\n{GOOD}\n{bad}\n".encode(), headers=NDJSON)
    for told, line in ((answer.json(), 3), (by_line.json(), 4)):
        (fault,) = told["errors"]
        assert (told["status"], told["error"]["code"]) == (400, code)
        assert (fault["pointer"], fault["line"]) == ("/2", line)
        assert detail in (None, fault["detail"])
        assert "line 1" not in fault["detail"]
    assert await store.statuses() == {}


async def test_a_line_that_is_too_long_is_named(settings: Any, owner: Any, store: Store) -> None:
    async with running_api(settings, owner, max_body_bytes=2**20, max_bulk_bytes=4 * 2**20) as small:
        caller = await small.caller()
        content = lines(job_request(), b"", job_request(), job_request("a" * 2**20), job_request())
        answer = await caller.http.post("/v1/jobs/bulk", content=content, headers=NDJSON)
    told = answer.json()
    assert answer.status_code == 413
    assert told["errors"] == [{"pointer": "/2", "detail": "May have at most 1 MB.", "line": 4}]
    assert told["detail"] == "Line 4 is too long: a line may have at most 1 MB."
    assert await store.statuses() == {}


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"[]", "application/json", 422),
        (b"", "application/json", 400),
        (b"{}", "application/json", 422),
        (b"", "application/x-ndjson", 422),
        (b"\n \n", "application/x-ndjson", 422),
        (b"{", "application/x-ndjson", 400),
        (b'{"a":1,"a":2}', "application/x-ndjson", 400),
        (b"[]", "application/x-ndjson", 422),
        (b"[]", "text/plain", 415),
    ],
)
async def test_odd_bulk_bodies_have_their_status(caller: Caller, content: bytes, kind: str, status: int) -> None:
    answer = await caller.http.post("/v1/jobs/bulk", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text


async def test_too_many_jobs_and_too_long_lines_are_refused(settings: Any, owner: Any, store: Store) -> None:
    async with running_api(settings, owner, max_bulk_jobs=10, max_body_bytes=2000, max_bulk_bytes=5000) as small:
        caller = await small.caller()
        many = lines(*[job_request("a")] * 11)
        long = lines(job_request("a" * 2000))
        huge = lines(*[job_request("a" * 800)] * 8)
        for content, status in ((many, 422), (long, 413), (huge, 413)):
            answer = await caller.http.post("/v1/jobs/bulk", content=content, headers=NDJSON)
            assert answer.status_code == status, answer.text

        async def trickle() -> Any:
            for start in range(0, len(huge), 500):
                yield huge[start : start + 500]

        streamed = await caller.http.post("/v1/jobs/bulk", content=trickle(), headers=NDJSON)
        assert streamed.status_code == 413
    assert await store.statuses() == {}


async def test_the_idempotency_key_covers_the_whole(caller: Caller, store: Store) -> None:
    requests = [job_request(str(n)) for n in range(5)]
    headers = {"idempotency-key": "bulk"}
    first = await caller.http.post("/v1/jobs/bulk", json=requests, headers=headers)
    again = await caller.http.post("/v1/jobs/bulk", content=lines(*requests), headers=headers | NDJSON)
    other = await caller.http.post("/v1/jobs/bulk", json=requests[:4], headers=headers)
    as_job = await caller.http.post("/v1/jobs", json=requests[0], headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, as_job.status_code) == (422, 422)
    assert await store.statuses() == {"queued": 5}


async def test_a_group_is_cancelled_as_a_whole_and_completes_with_its_last_job(
    api: Api, caller: Caller, store: Store
) -> None:
    group = await caller.post("/v1/jobs/bulk", 202, [job_request(str(n)) for n in range(5)])
    process = await store.process()
    await process.succeed(*await process.claim(2))
    running = await caller.get(f"/v1/groups/{group['id']}")
    assert (running["status"], running["counts"]) == ("running", counts(queued=3, succeeded=2))
    stopped = await caller.post(f"/v1/groups/{group['id']}/cancel")
    assert (stopped["status"], stopped["counts"]) == ("cancelled", counts(succeeded=2, cancelled=3))
    assert await caller.post(f"/v1/groups/{group['id']}/cancel") == stopped
    done = await caller.post("/v1/jobs/bulk", 202, [job_request()])
    await process.fail(*await process.claim())
    completed = await caller.get(f"/v1/groups/{done['id']}")
    assert (completed["status"], completed["counts"]) == ("completed", counts(failed=1))
    assert completed["finished_at"] is not None
