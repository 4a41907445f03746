"""What has to hold after the calm, whatever went wrong before. Each violation is one line that names the job."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

import orjson

from core import ids
from tests.soak.evidence import Evidence

_ENDS: Final = ("succeeded", "failed", "cancelled", "expired")
_WITHOUT_CALL: Final = ("hit", "semantic_hit", "coalesced")
#: A jump over numbers that a lost or cancelled worker may have shown (`lose.sql`, `cancel.sql`), less what was stored of them.
_JUMP: Final = 900_000
_BEHIND_JUMP: Final = ("job.reset", "job.failed", "job.cancelled")


def violations(seen: Evidence) -> list[str]:
    """Return everything that is wrong, in words."""
    checks = (
        _promises, _attempts, _defeats, _results, _readers, _answers, _events, _places, _usage, _groups, _keys, _webhooks, _calls,
    )  # fmt: skip
    return [*seen.journal.problems, *(problem for check in checks for problem in check(seen))]


def _name(job: Any) -> str:
    return ids.encode(ids.JOB, job)


def _ends(events: list[SimpleNamespace]) -> Counter[str]:
    """How often each end was told; a job that was put back has more than one."""
    return Counter(event.type for event in events if event.type.removeprefix("job.") in _ENDS)


def _promises(seen: Evidence) -> Iterator[str]:
    """I1, I14: what was accepted exists and has ended; what was cancelled stays so."""
    status = {_name(row.id): row.status for row in seen.tables["jobs"]}
    for job in seen.journal.jobs:
        if job not in status:
            yield f"{job}: accepted and gone"
    for job, now in status.items():
        if now not in _ENDS:
            yield f"{job}: still {now}"
    for job in seen.journal.cancelled:
        if status.get(job) != "cancelled":
            yield f"{job}: was cancelled and is {status.get(job)}"


def _attempts(seen: Evidence) -> Iterator[str]:
    """I2, I4: each claim has one outcome, each success one successful attempt."""
    tried = seen.by_job("attempts")
    for job in seen.tables["jobs"]:
        leases = [row.lease_no for row in tried[job.id]]
        outcomes = Counter(row.outcome for row in tried[job.id])
        if leases != list(range(1, job.lease_no + 1)):
            yield f"{_name(job.id)}: claimed {job.lease_no} times, outcomes of claims {leases}"
        if job.attempts != len(leases) - outcomes["handed_back"]:
            yield f"{_name(job.id)}: counts {job.attempts} attempts and had {dict(outcomes)}"
        wanted = int(job.status == "succeeded" and not (job.cache in _WITHOUT_CALL and not outcomes["succeeded"]))
        if outcomes["succeeded"] != wanted:
            yield f"{_name(job.id)}: {job.status} ({job.cache}) with {outcomes['succeeded']} successful attempts"


def _defeats(seen: Evidence) -> Iterator[str]:
    """I10: a job fails only when its last attempt did, and expires only when it had none in time."""
    tried, events = seen.by_job("attempts"), seen.by_job("events")
    for job in seen.tables["jobs"]:
        name, code = _name(job.id), job.error and job.error["code"]
        doomed = not {"error", "malformed"}.isdisjoint(job.body["sim"])
        if job.attempts > job.max_attempts:
            yield f"{name}: {job.attempts} attempts, and it may have {job.max_attempts}"
        if doomed and job.status == "succeeded":
            yield f"{name}: succeeded, and its model always fails"
        if (job.status == "failed") != (code is not None):
            yield f"{name}: {job.status} with the error {code}"
        if job.status == "failed" and code != "attempts_exhausted" and not doomed:
            yield f"{name}: failed by {code}, which passes"
        if code == "attempts_exhausted" and job.attempts != job.max_attempts:
            yield f"{name}: failed after {job.attempts} attempts, and it may have {job.max_attempts}"
        if _ends(events[job.id]).total() > 1:
            continue  # it got more attempts and a later expiry when it was put back
        if job.status == "expired" and (tried[job.id] or job.finished_at < job.expires_at):
            yield f"{name}: expired at {job.finished_at}, not {job.expires_at}, after {len(tried[job.id])} attempts"
        if tried[job.id] and tried[job.id][0].started_at > job.expires_at:
            yield f"{name}: started at {tried[job.id][0].started_at} and had to by {job.expires_at}"


def _results(seen: Evidence) -> Iterator[str]:
    """I2, I8: the result is the answer to this job's question, and what was streamed is the result."""
    events = seen.by_job("events")
    for job in seen.tables["jobs"]:
        if job.status != "succeeded":
            continue
        content = job.result["choices"][0]["message"]["content"]
        if job.body["messages"][0]["content"] not in content:
            yield f"{_name(job.id)}: has the answer of another: {content[:80]}"
        if job.stream:
            told = ""
            for event in events[job.id]:
                if event.type == "job.reset":
                    told = ""
                elif event.type == "job.delta":
                    told += "".join(delta["delta"] for delta in event.data)
            if told != content:
                yield f"{_name(job.id)}: streamed {told!r} and has the result {content!r}"


def _readers(seen: Evidence) -> Iterator[str]:
    """I8: whoever followed a job got its end, and before that its result."""
    events = seen.by_job("events")
    for job in seen.tables["jobs"]:
        read, kind = seen.journal.read.get(_name(job.id), (None, ""))
        content = job.result["choices"][0]["message"]["content"] if job.status == "succeeded" else read
        if read is not None and (kind not in _ends(events[job.id]) or (kind == "job.succeeded" and read != content)):
            steps = "; ".join(seen.journal.steps.get(_name(job.id), []))
            yield f"{_name(job.id)}: a reader got {kind} after {read!r}, it is {job.status} by {content!r}; it got {steps}"


def _answers(seen: Evidence) -> Iterator[str]:
    """I1: an end that an answer told was there to stay."""
    events = seen.by_job("events")
    for job in seen.tables["jobs"]:
        told = seen.journal.told.get(_name(job.id), {"status": job.status, "result": job.result})
        if f"job.{told['status']}" not in _ends(events[job.id]):
            yield f"{_name(job.id)}: was told as {told['status']}, and its ends are {dict(_ends(events[job.id]))}"
        if told["status"] == "succeeded" and told["result"] != job.result:
            yield f"{_name(job.id)}: was told with the result {told['result']}, and it is {job.result}"


def _events(seen: Evidence) -> Iterator[str]:
    """I3: numbers without gaps but for the documented jump, an end each time it was queued, a start for each claim."""
    events = seen.by_job("events")
    for job in seen.tables["jobs"]:
        last, kinds = 1, Counter[str]()
        for event in events[job.id]:
            jumped = job.stream and event.type in _BEHIND_JUMP and event.seq > last + _JUMP
            if event.seq != last + 1 and not jumped:
                yield f"{_name(job.id)}: event {event.seq} ({event.type}) follows {last}"
            if event.type == "job.delta" and event.last_seq - event.seq + 1 != len(event.data):
                yield f"{_name(job.id)}: events {event.seq} to {event.last_seq} hold {len(event.data)} deltas"
            last = event.last_seq
            kinds[event.type] += 1
        end = events[job.id][-1].type if events[job.id] else None
        told = (end, last, _ends(events[job.id]).total())
        if told != (f"job.{job.status}", job.event_seq, 1 + kinds["job.queued"]):
            yield f"{_name(job.id)}: is {job.status} at {job.event_seq}, its events: {dict(kinds)} up to {last}"
        if kinds["job.started"] != job.lease_no:
            yield f"{_name(job.id)}: {job.lease_no} claims and {kinds['job.started']} starts told"


def _places(seen: Evidence) -> Iterator[str]:
    """No job stands in the queue, and nothing counts one there."""
    for row in seen.tables["places"]:
        yield f"{_name(row.job_id)}: still in {row.place}"
    for row in seen.tables["flights"]:
        yield f"{row.key}: a shared call that nobody makes"
    for row in seen.tables["standing"]:
        counts = dict(vars(row))
        tenant = counts.pop("name")
        if any(counts.values()):
            yield f"tenant {tenant}: its standing is {counts}"


def _usage(seen: Evidence) -> Iterator[str]:
    """I9: the books hold what the jobs used, each once."""
    jobs = [job for job in seen.tables["jobs"] if job.status == "succeeded"]
    ends = _ends(seen.tables["events"])
    called = [job.usage for job in jobs if job.usage and job.cache not in _WITHOUT_CALL]
    wanted = {
        "jobs": ends["job.succeeded"] + ends["job.failed"],
        "failed": ends["job.failed"],
        "input_tokens": sum(usage["input_tokens"] for usage in called),
        "output_tokens": sum(usage["output_tokens"] for usage in called),
        "cost_usd": sum(job.cost_usd or 0 for job in jobs),
    }
    booked = {name: getattr(seen.tables["usage"][0], name) for name in wanted}
    if booked != wanted:
        yield f"usage_days: books {booked}, the jobs used {wanted}"


def _groups(seen: Evidence) -> Iterator[str]:
    members = Counter(row.group_id for row in seen.tables["jobs"])
    for group in seen.tables["groups"]:
        if (members[group.id], group.remaining) != (group.total, 0) or group.finished_at is None:
            yield f"{ids.encode(ids.GROUP, group.id)}: {group.total} jobs, {members[group.id]} there, {group.remaining} remain"
    known = {ids.encode(ids.GROUP, group.id) for group in seen.tables["groups"]}
    for promise in seen.journal.groups.values():
        if promise.id not in known:
            yield f"{promise.id}: accepted and gone"


def _keys(seen: Evidence) -> Iterator[str]:
    """I7: one job for each key, and the one that was told."""
    marks = Counter(row.metadata["mark"] for row in seen.tables["jobs"])
    for mark, jobs in marks.items():
        if jobs != 1:
            yield f"{mark}: {jobs} jobs"
    held = {row.key: _name(row.object_id) for row in seen.tables["keys"]}
    for promise in seen.journal.jobs.values():
        if promise.key is not None and held.get(promise.key) != promise.id:
            yield f"{promise.id}: its key belongs to {held.get(promise.key)}"


def _webhooks(seen: Evidence) -> Iterator[str]:
    """I6: one event for each end, told at least once to everybody who wants it, always under one id."""
    told: defaultdict[tuple[str, str, bool], set[str]] = defaultdict(set)
    bodies: dict[str, bytes] = {}
    for request in seen.received:
        event = orjson.loads(request.body)
        if bodies.setdefault(request.headers["webhook-id"], request.body) != request.body:
            yield f"{event['data']['id']}: {event['type']} was told in two ways under one id"
        if event["id"] != request.headers["webhook-id"] or not _says_so(event["type"], event["data"]):
            yield f"{event['data']['id']}: {event['type']} under {request.headers['webhook-id']} says {request.body[:300]!r}"
        told[event["data"]["id"], event["type"], "own=1" in request.line].add(request.headers["webhook-id"])
    wanted = _expected(seen)
    for (of, kind, own), times in wanted.items():
        if len(told.get((of, kind, own), ())) != times:
            by = "own URL" if own else "endpoint"
            yield f"{of}: {times} times {kind} ({by}) came under the ids {told.get((of, kind, own))}"
    for of, kind, own in told.keys() - wanted.keys():
        yield f"{of}: {kind} ({'own URL' if own else 'endpoint'}) came and nobody was to be told"
    for row in seen.tables["deliveries"]:
        if row.status != "delivered":
            yield f"{_name(row.job_id) if row.job_id else row.group_id}: delivery of {row.type} is {row.status}"


def _says_so(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether what is told is what the event's type says: this end of a job, or a group in which all have ended."""
    if data["object"] == "job":
        return bool(kind == f"job.{data['status']}")
    return bool(sum(data["counts"][end] for end in _ENDS) == data["total"])


def _expected(seen: Evidence) -> Counter[tuple[str, str, bool]]:
    """Who is to be told of what, and how often. The first tenant has an endpoint; the names of its clients begin with `first`."""
    groups = {row.group_id for row in seen.tables["jobs"] if row.group_id and row.metadata["mark"].startswith("first")}
    wanted = Counter((ids.encode(ids.GROUP, group), "group.completed", False) for group in groups)
    events = seen.by_job("events")
    for job in seen.tables["jobs"]:
        for kind, times in _ends(events[job.id]).items():
            if job.metadata["mark"].startswith("first"):
                wanted[_name(job.id), kind, False] = times
            if job.own_url:
                wanted[_name(job.id), kind, True] = times
    return wanted


def _calls(seen: Evidence) -> Iterator[str]:
    """I4: no call without a claim, no result without a call."""
    jobs = {_name(row.id): row for row in seen.tables["jobs"]}
    for name, calls in seen.journal.calls.items():
        if name not in jobs:
            yield f"{name}: called, and there is no such job"
        elif len(calls) > jobs[name].lease_no:
            yield f"{name}: called {len(calls)} times in {jobs[name].lease_no} claims"
    for name, job in jobs.items():
        if job.status == "succeeded" and job.cache not in _WITHOUT_CALL and name not in seen.journal.calls:
            yield f"{name}: succeeded and nobody was called"
