"""Runs of schedules, as workers make them: fired once for each time, expanded slice by slice, ended by their last job.

Nothing of a run lives in a worker. Who fires holds the schedule's row, so that two clocks never fire one time twice. Who expands
moves the run on in the same commit that stores the slice's jobs, and only from where it stands: a worker that dies loses nothing
and repeats nothing. Rows are locked in the order of ``core.store.entering``, with schedules and then runs before groups; the
commit of a job's end touches a run only when no combination of it is left, so the two never wait crosswise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core import ids
from core.cron import CronError, ZoneError, fires_until, next_fire
from core.store.accept import NewJob, insert_jobs
from core.store.endings import end_groups
from core.store.statements import fetch, statement
from policies.schedules import CATCH_UP, KEEP_WARM, LEARNED, combinations, firing, lead

_log = structlog.get_logger(__name__)
#: Who has taken a run and not moved it on for so long is taken for dead, in seconds.
LEASE_S: Final = 15.0
#: So many runs of a schedule are kept, the newest.
KEPT: Final = 1000

_FIRED = text("UPDATE schedules SET next_run_at = :next_run_at WHERE id = :id")
_NEXT = text("SELECT extract(epoch FROM min(t) - now())::double precision AS s FROM (SELECT min(next_run_at) AS t FROM schedules "
             "UNION ALL SELECT min(next_look_at) FROM schedule_runs) AS times")  # fmt: skip
_EXTEND = text(
    "UPDATE schedule_runs SET ends_at = greatest(ends_at, :ends_at), next_look_at = greatest(ends_at, :ends_at) "
    "WHERE schedule_id = :schedule_id AND status = 'running'"
)
_LATER = text("UPDATE schedule_runs SET next_look_at = now() + make_interval(secs => :pause_s) WHERE id = :id "
              "AND next_look_at IS NOT NULL")  # fmt: skip
_STANDS_AT = text("SELECT next_index FROM schedule_runs WHERE id = :id AND status = 'running'")
_TRIM = text(
    "DELETE FROM schedule_runs WHERE schedule_id = :id AND status <> 'running' AND id < "
    "(SELECT id FROM schedule_runs WHERE schedule_id = :id ORDER BY id DESC OFFSET :kept LIMIT 1)"
)
_WARM = text(
    "SELECT r.id, r.ends_at, s.template::text AS template FROM schedule_runs r JOIN schedules s ON s.id = r.schedule_id "
    "WHERE r.status = 'running' AND r.kind = 'keep_warm' AND r.ends_at > now() AND NOT s.paused"
)
_PINGED = text(
    "UPDATE schedule_runs SET submitted = submitted + :sent, succeeded = succeeded + :sent - :failed, failed = failed + :failed "
    "WHERE id = :id AND status = 'running'"
)


@dataclass(slots=True, frozen=True)
class Fired:
    """What looking for due schedules did: runs that began, and times that passed without one."""

    runs: tuple[UUID, ...] = ()
    skipped: int = 0
    looked_at: int = 0


@dataclass(slots=True, frozen=True)
class Run:
    """A run to be worked on, taken for ``LEASE_S``. ``plan`` is what ``plan_of`` wrote; None for a window of keep_warm."""

    id: UUID
    schedule_id: UUID
    tenant_id: UUID
    key_id: UUID | None
    kind: str
    planned: int
    next_index: int
    submitted: int
    plan: str | None
    ends_at: datetime | None
    cancelled: bool


@dataclass(slots=True, frozen=True)
class Moved:
    """A slice that was stored. ``cancelled``: there should be no further one."""

    cancelled: bool
    deliveries: int = 0


@dataclass(slots=True, frozen=True)
class Window:
    """A time in which deployments are kept warm; ``template`` is JSON text."""

    run_id: UUID
    ends_at: datetime
    template: str


# --- firing ---


async def fire_due(engine: AsyncEngine, *, now: datetime | None = None, most: int = 20) -> Fired:
    """Begin the runs of schedules whose time has come; ``now`` stands in for the database's clock."""
    async with engine.begin() as connection:
        rows = (await connection.execute(statement("schedule_due"), {"now": now, "most": most})).all()
        runs: list[UUID] = []
        skipped = 0
        for row in rows:
            try:
                run = await _fire(connection, row)
            except (CronError, ZoneError) as error:
                # A zone that has left the database of zones, say: one schedule must not stop the others.
                _log.error("schedule_broken", schedule=ids.encode(ids.SCHEDULE, row.id), error=str(error))
                await connection.execute(_FIRED, {"id": row.id, "next_run_at": None})
                continue
            runs += [run] if run else []
            skipped += run is None
    return Fired(tuple(runs), skipped, len(rows))


async def _fire(connection: AsyncConnection, row: Row[Any]) -> UUID | None:
    ahead = lead(row.kind)
    now, due = row.now + ahead, row.next_run_at + ahead
    await connection.execute(_FIRED, {"id": row.id, "next_run_at": next_fire(row.cron, row.timezone, now) - ahead})
    await connection.execute(_TRIM, {"id": row.id, "kept": KEPT})
    recent = [due] if due > now - CATCH_UP else []
    recent += fires_until(row.cron, row.timezone, max(due, now - CATCH_UP), now)
    what = firing(due, recent, now)
    names = {"schedule_id": row.id, "tenant_id": row.tenant_id, "kind": row.kind, "slot": what.slot,
             "trigger": what.trigger, "missed": what.missed}  # fmt: skip
    if not what.run:
        await connection.execute(statement("schedule_skip"), names | {"id": ids.new_id(), "reason": "missed"})
        return None
    run = await open_run(connection, row, what.slot, what.trigger, what.missed)
    if run is None and row.kind == KEEP_WARM:
        await connection.execute(_EXTEND, {"schedule_id": row.id, "ends_at": window_end(row.template, what.slot)})
    elif run is None:
        await connection.execute(statement("schedule_skip"), names | {"id": ids.new_id(), "reason": "overlap"})
    return run


async def open_run(connection: AsyncConnection, row: Any, slot: datetime, trigger: str, missed: int = 0) -> UUID | None:
    """Begin a run of a schedule whose row is locked; None when that time has had its run, or the one before goes on."""
    matrix = None if row.matrix is None else orjson.loads(row.matrix)
    warm = row.kind == KEEP_WARM
    # A learned run chooses its jobs when a worker takes it.
    planned = 0 if warm or matrix == LEARNED else combinations(matrix)
    parameters = {
        "id": ids.new_id(), "schedule_id": row.id, "tenant_id": row.tenant_id, "kind": row.kind, "slot": slot, "trigger": trigger,
        "missed": missed, "planned": planned, "plan": None if warm else plan_of(row, slot),
        "ends_at": window_end(row.template, slot) if warm else None,
    }  # fmt: skip
    return (await connection.execute(statement("schedule_open"), parameters)).scalar_one_or_none()


def plan_of(row: Any, slot: datetime) -> str:
    """Return what a run expands, as the schedule is now: it may be changed while the run goes on."""
    following = next_fire(row.cron, row.timezone, slot)
    fresh_for_s = row.refresh_before_s
    if fresh_for_s is None:
        # What would run out before the next run is made anew by this one.
        fresh_for_s = (following - slot).total_seconds()
    plan = {
        "template": orjson.Fragment(row.template),
        "matrix": None if row.matrix is None else orjson.Fragment(row.matrix),
        "budget": None if row.budget is None else orjson.Fragment(row.budget),
        "ttl_s": row.ttl_s,
        "fresh_for_s": fresh_for_s,
        "timezone": row.timezone,
        "next_run_at": following,
    }
    return orjson.dumps(plan).decode()


def window_end(template: str, slot: datetime) -> datetime:
    """Return when the window of a keep_warm schedule that begins at ``slot`` is over."""
    return slot + timedelta(seconds=orjson.loads(template)["window_s"])


async def next_look_s(engine: AsyncEngine) -> float | None:
    """Return in how many seconds something is due next; None when nothing is."""
    async with engine.connect() as connection:
        seconds: float | None = (await connection.execute(_NEXT)).scalar_one()
        return seconds


# --- expanding ---


async def take_run(engine: AsyncEngine, lease_s: float = LEASE_S) -> Run | None:
    """Take the run that most needs somebody's work; None when there is none."""
    rows = await fetch(engine, "schedule_take", {"lease_s": lease_s})
    return Run(**dict(rows[0])) if rows else None


async def put_off(engine: AsyncEngine, run_id: UUID, pause_s: float) -> None:
    """Have somebody look at a run again after ``pause_s`` seconds."""
    async with engine.begin() as connection:
        await connection.execute(_LATER, {"id": run_id, "pause_s": pause_s})


async def stands_at(engine: AsyncEngine, run_id: UUID) -> int | None:
    """Return the first combination that a run has not decided upon; None when it has ended."""
    async with engine.connect() as connection:
        found: int | None = (await connection.execute(_STANDS_AT, {"id": run_id})).scalar_one_or_none()
        return found


async def spent_by(engine: AsyncEngine, run_id: UUID) -> Any:
    """Return what the jobs of a run have used: unfinished, tokens, most_tokens, cost_usd, most_cost_usd."""
    return (await fetch(engine, "schedule_spent", {"id": run_id}))[0]


async def add_slice(
    engine: AsyncEngine, run_id: UUID, start: int, upto: int, jobs: Sequence[NewJob], public_url: str
) -> Moved | None:
    """Store the jobs for the combinations from ``start`` to ``upto``; those that have no job are fresh.

    Returns:
        None when the run does not stand at ``start`` any more: somebody else stored them.
    """
    fresh = upto - start - len(jobs)
    moves = {"skipped_fresh": fresh, "submitted": len(jobs), "over_budget": 0, "reason": None}
    async with engine.begin() as connection:
        moved = await _advance(connection, run_id, start, upto, moves)
        if moved is None:
            return None
        deliveries = await _shrink(connection, run_id, fresh, public_url)
        if jobs:
            await insert_jobs(connection, sorted(jobs, key=lambda job: job.id))
        return Moved(moved, deliveries)


async def stop_run(engine: AsyncEngine, run: Run, start: int, reason: str, public_url: str) -> int:
    """Make no more jobs of a run from ``start`` on; its last job ends it. Returns how many deliveries are due."""
    rest = run.planned - start
    moves = {
        "skipped_fresh": 0,
        "submitted": 0,
        "over_budget": rest if reason.startswith("max_") else 0,
        "reason": reason,
    }
    async with engine.begin() as connection:
        if await _advance(connection, run.id, start, run.planned, moves) is None:
            return 0
        return await _shrink(connection, run.id, rest, public_url)


async def end_window(engine: AsyncEngine, run_id: UUID, public_url: str) -> int:
    """End a window of keep_warm. Returns how many deliveries are due."""
    async with engine.begin() as connection:
        return await end_groups(connection, [run_id], public_url)


async def _advance(
    connection: AsyncConnection, run_id: UUID, start: int, upto: int, moves: dict[str, Any]
) -> bool | None:
    parameters = {"id": run_id, "start": start, "upto": upto, "lease_s": LEASE_S, **moves}
    cancelled: bool | None = (await connection.execute(statement("schedule_advance"), parameters)).scalar_one_or_none()
    return cancelled


async def _shrink(connection: AsyncConnection, run_id: UUID, dropped: int, public_url: str) -> int:
    if not dropped:
        return 0
    complete = (await connection.execute(statement("schedule_shrink"), {"id": run_id, "dropped": dropped})).first()
    return 0 if complete is None else await end_groups(connection, [run_id], public_url)


# --- keeping warm ---


async def warm_windows(engine: AsyncEngine) -> list[Window]:
    """Return the windows in which deployments are to be kept warm now."""
    async with engine.connect() as connection:
        return [Window(row.id, row.ends_at, row.template) for row in await connection.execute(_WARM)]


async def count_pings(engine: AsyncEngine, run_id: UUID, sent: int, failed: int) -> None:
    """Count pings of a window: ``sent`` in all, ``failed`` of them."""
    async with engine.begin() as connection:
        await connection.execute(_PINGED, {"id": run_id, "sent": sent, "failed": failed})
