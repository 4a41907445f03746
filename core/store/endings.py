"""What every end of a job brings with it, in the same commit: its group or run counts down, its webhooks are written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from core import ids
from core.lifecycle import TERMINAL
from core.render import moment, render_group, render_job, render_run
from core.store.statements import statement

#: A result longer than this (in bytes of JSON) is left out of webhook payloads; the receiver fetches it by id.
PAYLOAD_RESULT_LIMIT: Final = 20_000


@dataclass(slots=True)
class Ended:
    """The ids of jobs that reached an end in a transaction, for the announcement after its commit.

    ``lanes`` got work, because places of concurrency keys went to jobs that were held back.
    """

    jobs: list[UUID] = field(default_factory=list)
    deliveries: int = 0
    lanes: set[str] = field(default_factory=set)


async def end(connection: AsyncConnection, rows: Sequence[Row[Any]], public_url: str) -> Ended:
    """Finish what the moves to terminal states in ``rows`` began; rows that are not terminal are passed over.

    Args:
        connection: the transaction in which the moves were made.
        rows: what the statement returned: id, tenant_id, group_id, status, webhook, has_endpoints.
        public_url: what absolute URLs in payloads start with.
    """
    done = [row for row in rows if row.status in TERMINAL]
    ended = Ended([row.id for row in done])
    if not done:
        return ended
    grouped = Counter(row.group_id for row in done if row.group_id is not None)
    groups = await _count_down(connection, grouped) if grouped else []
    wanted = [row.id for row in done if row.has_endpoints or row.webhook is not None]
    if wanted or groups:
        ended.deliveries = await _push(connection, wanted, groups, public_url)
    return ended


async def end_groups(connection: AsyncConnection, groups: Sequence[UUID], public_url: str) -> int:
    """Tell of groups that are complete although no job's end was the last thing they waited for; and of runs without jobs.

    Returns:
        How many webhook deliveries are due.
    """
    return await _push(connection, [], list(groups), public_url)


async def _count_down(connection: AsyncConnection, grouped: Counter[UUID]) -> list[UUID]:
    rows = await connection.execute(
        statement("count_down"), {"group_id": list(grouped), "ended": list(grouped.values())}
    )
    return [row.id for row in rows]


async def _push(connection: AsyncConnection, jobs: list[UUID], groups: list[UUID], public_url: str) -> int:
    events: list[dict[str, Any]] = []
    now = datetime.now(UTC)
    if jobs:
        for row in (await connection.execute(statement("read_jobs"), {"id": sorted(jobs)})).mappings():
            kind = f"job.{row['status']}"
            webhook = orjson.loads(row["webhook"]) if row["webhook"] else {}
            own_url = webhook.get("url") if kind in webhook.get("events", (kind,)) else None
            data = render_job(row, public_url)
            if row["result"] is not None and len(row["result"].encode()) > PAYLOAD_RESULT_LIMIT:
                data |= {"result": None, "result_omitted": True}
            events.append(
                _event(kind, data, now, row["tenant_id"], job_id=row["id"], url=own_url, trace=row["traceparent"])
            )
    if groups:
        events += await _completed(connection, groups, now)
    if not events:
        return 0
    columns = {name: [event[name] for event in events] for name in events[0]}
    deliveries: int = (await connection.execute(statement("push"), columns)).scalar_one()
    return deliveries


async def _completed(connection: AsyncConnection, groups: list[UUID], now: datetime) -> list[dict[str, Any]]:
    """Return the events of complete groups. That of a schedule's run ends the run, and speaks for it."""
    runs = (await connection.execute(statement("schedule_end_runs"), {"id": groups})).mappings().all()
    events = [
        _event("schedule.run_completed", render_run(row), now, row["tenant_id"], group_id=row["id"])
        for row in runs
        if row["ended"]
    ]
    plain = sorted(set(groups) - {row["id"] for row in runs})
    if plain:
        rows = (await connection.execute(statement("read_groups"), {"id": plain})).mappings()
        events += [
            _event("group.completed", render_group(row), now, row["tenant_id"], group_id=row["id"]) for row in rows
        ]
    return events


def _event(
    kind: str,
    data: dict[str, Any],
    now: datetime,
    tenant_id: UUID,
    *,
    job_id: UUID | None = None,
    group_id: UUID | None = None,
    url: str | None = None,
    trace: str | None = None,
) -> dict[str, Any]:
    event_id = ids.new_id()
    payload = {
        "id": ids.encode(ids.EVENT, event_id),
        "object": "event",
        "type": kind,
        "created_at": int(now.timestamp()),
        "timestamp": moment(now),
        "data": data,
    }
    return {
        "id": event_id,
        "tenant_id": tenant_id,
        "type": kind,
        "job_id": job_id,
        "group_id": group_id,
        "payload": orjson.dumps(payload).decode(),
        "traceparent": trace,
        "url": url,
        "url_delivery_id": ids.new_id() if url else None,
    }
