"""The checker finds what is wrong: a sound piece of evidence, and the same with one thing spoilt."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest

from core import ids
from tests.integration.webhooks.receivers import Received
from tests.soak.checker import violations
from tests.soak.evidence import Evidence
from tests.soak.journal import Journal, Promise

JOB, TENANT, OTHER = ids.new_id(), ids.new_id(), ids.new_id()
NAME = ids.encode(ids.JOB, JOB)
EVENT = "evt_1"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def told(job: str = NAME, event: str = EVENT, status: str = "succeeded") -> Received:
    body = orjson.dumps({"id": event, "type": "job.succeeded", "data": {"id": job, "object": "job", "status": status}})
    return Received("POST /hook?x=1 HTTP/1.1", {"webhook-id": event}, body)


def sound() -> Evidence:
    """One streamed job, lost once and then answered."""
    body = {"messages": [{"role": "user", "content": "Answer for first-1"}], "sim": {}}
    answer = {"choices": [{"message": {"content": "[sim] Answer for first-1 coat"}}]}
    job = SimpleNamespace(
        id=JOB, tenant_id=TENANT, status="succeeded", stream=True, body=body, result=answer, attempts=2, lease_no=2,
        event_seq=1_000_009, group_id=None, metadata={"mark": "first-1"}, usage={"input_tokens": 5, "output_tokens": 7},
        cost_usd=0, error=None, cache="miss", own_url=False, max_attempts=6, expires_at=NOON + timedelta(days=1),
        finished_at=NOON,
    )  # fmt: skip
    events = [
        (2, 2, "job.started", None),
        (3, 3, "job.delta", [{"delta": "lost"}]),
        (1_000_003, 1_000_003, "job.reset", None),
        (1_000_004, 1_000_004, "job.retrying", None),
        (1_000_005, 1_000_005, "job.started", None),
        (1_000_006, 1_000_008, "job.delta", [{"delta": text} for text in ("[sim] ", "Answer for ", "first-1 coat")]),
        (1_000_009, 1_000_009, "job.succeeded", None),
    ]
    journal = Journal(calls={NAME: {"simreq-1", "simreq-2"}})
    journal.jobs[NAME] = Promise(NAME, "first", "streamed", "first-1", "first-1", own_url=False)
    tables: dict[str, Any] = {
        "jobs": [job],
        "attempts": [
            SimpleNamespace(job_id=JOB, lease_no=n, outcome=o, started_at=NOON)
            for n, o in ((1, "lost"), (2, "succeeded"))
        ],
        "events": [
            SimpleNamespace(job_id=JOB, seq=seq, last_seq=last, type=kind, data=data) for seq, last, kind, data in events
        ],
        "groups": [], "places": [], "flights": [],
        "standing": [SimpleNamespace(name="first", tenant_queued=0)],
        "usage": [SimpleNamespace(jobs=1, failed=0, input_tokens=5, output_tokens=7, cost_usd=0)],
        "keys": [SimpleNamespace(key="first-1", object_id=JOB)],
        "deliveries": [SimpleNamespace(status="delivered", type="job.succeeded", job_id=JOB, group_id=None)],
    }  # fmt: skip
    return Evidence(tables, journal, [told(), told()])


def test_sound_evidence_shows_no_violation() -> None:
    assert violations(sound()) == []


def the_job(**changes: Any) -> Callable[[Evidence], object]:
    return lambda seen: vars(seen.tables["jobs"][0]).update(changes)


def row(table: str, at: int, **changes: Any) -> Callable[[Evidence], object]:
    return lambda seen: vars(seen.tables[table][at]).update(changes)


def promise_of(job: UUID) -> Promise:
    return Promise(ids.encode(ids.JOB, job), "first", "plain", "first-2", None, own_url=False)


SPOILT: dict[str, Callable[[Evidence], object]] = {
    "a promise without a job": lambda seen: seen.journal.jobs.update(gone=promise_of(OTHER)),
    "a job that has not ended": the_job(status="running"),
    "a success after a cancel": lambda seen: seen.journal.cancelled.add(NAME),
    "a claim without an outcome": the_job(lease_no=3),
    "a wrong count of attempts": the_job(attempts=1),
    "two successes": row("attempts", 0, outcome="succeeded"),
    "another one's answer": the_job(body={"messages": [{"content": "Answer for second-1"}], "sim": {}}),
    "too many attempts": the_job(max_attempts=1),
    "a success of a model that always fails": lambda seen: seen.tables["jobs"][0].body["sim"].update(error={}),
    "a failure without an error": the_job(status="failed"),
    "a failure by what passes": the_job(status="failed", error={"code": "upstream_error"}),
    "a failure before the last attempt": the_job(status="failed", error={"code": "attempts_exhausted"}),
    "an expiry after an attempt": the_job(status="expired", finished_at=NOON + timedelta(days=2)),
    "a start that came too late": the_job(expires_at=NOON - timedelta(seconds=1)),
    "a stream that is not the result": row("events", 5, data=[{"delta": ""}] * 3),
    "a reader who got something else": lambda seen: seen.journal.read.update({NAME: ("", "job.succeeded")}),
    "an end that was taken back": lambda seen: seen.journal.told.update({NAME: {"status": "failed", "result": None}}),
    "an answer with another result": lambda seen: seen.journal.told.update(
        {NAME: {"status": "succeeded", "result": {}}}
    ),
    "a gap in the events": row("events", 6, seq=1_000_010, last_seq=1_000_010),
    "a jump where nothing was lost": row("events", 2, type="job.retrying"),
    "an end told twice": row("events", 3, type="job.succeeded"),
    "a job that was put back and did not end again": row("events", 3, type="job.queued"),
    "a job in the queue": lambda seen: seen.tables["places"].append(SimpleNamespace(job_id=JOB, place="ready")),
    "a standing that is not nothing": row("standing", 0, tenant_queued=1),
    "usage booked twice": row("usage", 0, output_tokens=14),
    "a key that leads elsewhere": row("keys", 0, object_id=OTHER),
    "a webhook that never came": lambda seen: seen.received.clear(),
    "a webhook under two ids": lambda seen: seen.received.append(told(event="evt_2")),
    "a webhook that says something else": lambda seen: seen.received.append(told(status="failed")),
    "a webhook for nobody": lambda seen: seen.received.append(told(job=ids.encode(ids.JOB, OTHER))),
    "a delivery that was given up": row("deliveries", 0, status="exhausted"),
    "a call without a claim": lambda seen: seen.journal.calls[NAME].add("simreq-3"),
    "a result without a call": lambda seen: seen.journal.calls.clear(),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_one_thing_that_is_wrong_is_found_and_named(spoil: str) -> None:
    evidence = sound()
    SPOILT[spoil](evidence)
    assert violations(evidence)
