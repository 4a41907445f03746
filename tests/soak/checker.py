"""What has to hold after the calm, whatever went wrong before. Each violation is one line that names the job."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.store.entering import FLIGHT
from tests.integration.webhooks.receivers import Received
from tests.soak.journal import Journal

_ENDS: Final = ("succeeded", "failed", "cancelled", "expired")
_WITHOUT_CALL: Final = ("hit", "semantic_hit", "coalesced")
#: A jump over numbers that a lost or cancelled worker may have shown (`lose.sql`, `cancel.sql`), less what was stored of them.
_JUMP: Final = 900_000
_BEHIND_JUMP: Final = ("job.reset", "job.failed", "job.cancelled")

_QUERIES: Final[Mapping[str, str]] = {
    "jobs": "SELECT id, tenant_id, status, stream, body, result, attempts, lease_no, event_seq, group_id, metadata, usage, "
    "cost_usd, error, cache ->> 'status' AS cache, webhook IS NOT NULL AS own_url FROM jobs ORDER BY id",
    "attempts": "SELECT job_id, lease_no, outcome FROM attempts ORDER BY job_id, lease_no",
    "events": "SELECT job_id, seq, last_seq, type, data FROM job_events ORDER BY job_id, seq",
    "groups": "SELECT id, total, remaining, finished_at FROM groups",
    "places": " UNION ALL ".join(
        f"SELECT job_id, '{table}' AS place FROM {table}" for table in ("ready", "waiting", "held_back", "running")
    ),
    "flights": f"SELECT tenant_id, key FROM concurrency_keys WHERE key LIKE '{FLIGHT}%'",
    "standing": "SELECT t.name, s.* FROM tenants t CROSS JOIN LATERAL standing(t.id, NULL, 1000) s",
    "usage": "SELECT coalesce(sum(jobs), 0) AS jobs, coalesce(sum(failed), 0) AS failed, "
    "coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens, "
    "coalesce(sum(cost_usd), 0) AS cost_usd FROM usage_days",
    "keys": "SELECT key, object_id FROM idempotency_keys",
    "deliveries": "SELECT d.id, d.status, d.url, e.id AS event_id, e.type, e.job_id, e.group_id FROM webhook_deliveries d "
    "JOIN webhook_events e ON e.id = d.event_id",
}
_JSON: Final = frozenset({"body", "result", "metadata", "usage", "error", "data"})
Rows = list[SimpleNamespace]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checker looks at: tables as they are after the calm, the clients' journal, the receiver's log."""

    tables: Mapping[str, Rows]
    journal: Journal
    received: list[Received]

    @classmethod
    async def gather(cls, owner: AsyncEngine, journal: Journal, received: Sequence[Received]) -> "Evidence":
        """Read the tables, all in one snapshot."""
        async with owner.connect() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            tables = {
                name: [_plain(row) for row in await connection.execute(text(query))] for name, query in _QUERIES.items()
            }
        return cls(tables, journal, list(received))

    def by_job(self, table: str) -> Mapping[Any, list[SimpleNamespace]]:
        """The rows of a table by their job."""
        sorted_out: defaultdict[Any, list[SimpleNamespace]] = defaultdict(list)
        for row in self.tables[table]:
            sorted_out[row.job_id].append(row)
        return sorted_out


def _plain(row: Row[Any]) -> SimpleNamespace:
    """A row with its JSON read: statements without types leave it as text."""
    return SimpleNamespace(
        **{
            name: orjson.loads(value) if name in _JSON and isinstance(value, str) else value
            for name, value in row._mapping.items()
        }
    )


def violations(seen: Evidence) -> list[str]:
    """Return everything that is wrong, in words."""
    checks = (_promises, _attempts, _results, _events, _places, _usage, _groups, _keys, _webhooks, _calls)
    return [*seen.journal.problems, *(problem for check in checks for problem in check(seen))]


def _name(job: Any) -> str:
    return ids.encode(ids.JOB, job)


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
        read, kind = seen.journal.read.get(_name(job.id), (content, "job.succeeded"))
        if (read, kind) != (content, "job.succeeded"):
            steps = "; ".join(seen.journal.steps.get(_name(job.id), []))
            yield f"{_name(job.id)}: a reader got {kind} after {read!r}, and the result is {content!r}; it got {steps}"


def _events(seen: Evidence) -> Iterator[str]:
    """I3: numbers without gaps but for the documented jump, one end, a start for each claim."""
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
        ends = [f"job.{end}" for end in _ENDS if kinds[f"job.{end}"]]
        if ends != [f"job.{job.status}"] or kinds[ends[0]] != 1 or last != job.event_seq:
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
    jobs = [job for job in seen.tables["jobs"] if job.status in ("succeeded", "failed")]
    called = [job.usage for job in jobs if job.usage and job.cache not in _WITHOUT_CALL]
    wanted = {
        "jobs": len(jobs),
        "failed": sum(job.status == "failed" for job in jobs),
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
    for request in seen.received:
        event = orjson.loads(request.body)
        told[event["data"]["id"], event["type"], "own=1" in request.line].add(request.headers["webhook-id"])
    wanted = _expected(seen)
    for of, kind, own in wanted:
        if len(told.get((of, kind, own), ())) != 1:
            yield f"{of}: {kind} ({'own URL' if own else 'endpoint'}) came under the ids {told.get((of, kind, own))}"
    for of, kind, own in told.keys() - wanted:
        yield f"{of}: {kind} ({'own URL' if own else 'endpoint'}) came and nobody was to be told"
    for row in seen.tables["deliveries"]:
        if row.status != "delivered":
            yield f"{_name(row.job_id) if row.job_id else row.group_id}: delivery of {row.type} is {row.status}"


def _expected(seen: Evidence) -> set[tuple[str, str, bool]]:
    """Who is to be told of what. The first tenant has an endpoint; the names of its clients begin with `first`."""
    groups = {row.group_id for row in seen.tables["jobs"] if row.group_id and row.metadata["mark"].startswith("first")}
    wanted = {(ids.encode(ids.GROUP, group), "group.completed", False) for group in groups}
    for job in seen.tables["jobs"]:
        if job.metadata["mark"].startswith("first"):
            wanted.add((_name(job.id), f"job.{job.status}", False))
        if job.own_url:
            wanted.add((_name(job.id), f"job.{job.status}", True))
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
