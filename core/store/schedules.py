"""Schedules and their runs, as the API sees them: always one tenant's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, ColumnElement, String, Text, cast, delete, func, insert, null, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.cron import next_fire
from core.database import as_tenant
from core.store.schedule_runs import open_run
from core.store.statements import statement
from core.tables import schedule_runs, schedules
from policies.schedules import lead

_LAST_ID: Final = UUID(int=2**128 - 1)
_schedule = schedules.c
_run = schedule_runs.c
_AS_TEXT: Final = ("template", "matrix", "budget")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule. ``template``, ``matrix`` and ``budget`` are JSON text, as they were handed in."""

    id: UUID
    tenant_id: UUID
    key_id: UUID | None
    name: str
    kind: str
    cron: str
    timezone: str
    paused: bool
    template: str
    matrix: str | None
    budget: str | None
    ttl_s: float | None
    refresh_before_s: float | None
    next_run_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


_COLUMNS: Final = tuple(
    cast(_schedule[name], Text).label(name) if name in _AS_TEXT else _schedule[name]
    for name in Schedule.__dataclass_fields__
)


class StillRunning(Exception):
    """A run of the schedule goes on: there is one at a time."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(run_id)
        self.run_id = run_id


class ChangedMeanwhile(Exception):
    """Somebody else changed the schedule at the same time; nothing was changed."""


def begins_at(kind: str, cron: str, timezone: str, *, paused: bool) -> datetime | None:
    """Return when a schedule has to be looked at next; None while it is paused.

    Raises:
        CronError, ZoneError: for a time that does not exist.
    """
    if paused:
        return None
    ahead = lead(kind)
    return next_fire(cron, timezone, datetime.now(UTC) + ahead) - ahead


class ScheduleStore:
    """Statements on one tenant's schedules. Raises what the database raises."""

    def __init__(self, engine: AsyncEngine, tenant_id: UUID) -> None:
        self._engine = engine
        self._tenant = tenant_id

    async def add(self, schedule_id: UUID, values: Mapping[str, Any]) -> Schedule:
        """Store a schedule; JSON members are text."""
        row = {"id": schedule_id, "tenant_id": self._tenant} | _for_table(values)
        async with as_tenant(self._engine, self._tenant) as connection:
            made = await connection.execute(insert(schedules).values(row).returning(*_COLUMNS))
            return Schedule(**made.mappings().one())

    async def one(self, schedule_id: UUID) -> Schedule | None:
        """One schedule."""
        async with as_tenant(self._engine, self._tenant) as connection:
            return await self._one(connection, schedule_id)

    async def page(self, *, after: UUID | None, limit: int) -> list[Schedule]:
        """A page of schedules, newest first, older than ``after``."""
        query = (
            select(*_COLUMNS)
            .where(_schedule.tenant_id == self._tenant, _schedule.id < (after or _LAST_ID))
            .order_by(_schedule.id.desc())
            .limit(limit)
        )
        async with as_tenant(self._engine, self._tenant) as connection:
            return [Schedule(**row) for row in (await connection.execute(query)).mappings()]

    async def change(self, before: Schedule, values: Mapping[str, Any]) -> Schedule:
        """Change a schedule that was read as ``before``.

        Raises:
            ChangedMeanwhile: when it is not as it was read.
        """
        query = (
            update(schedules)
            .where(_schedule.id == before.id, _schedule.tenant_id == self._tenant, _schedule.version == before.version)
            .values(_for_table(values) | {"version": _schedule.version + 1, "updated_at": func.now()})
            .returning(*_COLUMNS)
        )
        async with as_tenant(self._engine, self._tenant) as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise ChangedMeanwhile
        return Schedule(**row)

    async def remove(self, schedule_id: UUID) -> bool:
        """Delete a schedule and what tells of its runs. A run makes no more jobs; those it made stay."""
        async with as_tenant(self._engine, self._tenant) as connection:
            if await self._one(connection, schedule_id, lock=True) is None:
                return False
            open_runs = select(_run.id, (_run.planned - _run.next_index).label("rest")).where(
                _run.schedule_id == schedule_id, _run.status == "running"
            )
            for run in (await connection.execute(open_runs.with_for_update())).all():
                if run.rest:
                    await connection.execute(statement("schedule_shrink"), {"id": run.id, "dropped": run.rest})
            await connection.execute(delete(schedules).where(_schedule.id == schedule_id))
            return True

    async def run_now(self, schedule_id: UUID) -> Mapping[Any, Any] | None:
        """Begin a run now and return it for ``render_run``; None when there is no such schedule.

        Raises:
            StillRunning: when one goes on.
        """
        async with as_tenant(self._engine, self._tenant) as connection:
            schedule = await self._one(connection, schedule_id, lock=True)
            if schedule is None:
                return None
            going = select(_run.id).where(_run.schedule_id == schedule_id, _run.status == "running")
            while (run := await open_run(connection, schedule, datetime.now(UTC), "manual")) is None:
                if (other := (await connection.execute(going)).scalar_one_or_none()) is not None:
                    raise StillRunning(other)
                # It has ended between the two looks, and nobody else begins one: the schedule is locked.
            # In this transaction: after it the schedule may be deleted, and its runs with it.
            return (await connection.execute(statement("schedule_read_runs"), {"id": [run]})).mappings().one()

    async def runs(self, schedule_id: UUID, *, after: UUID | None, limit: int) -> Sequence[Mapping[Any, Any]] | None:
        """A page of runs for ``render_run``, newest first; None when there is no such schedule."""
        query = (
            select(_run.id)
            .where(_run.schedule_id == schedule_id, _run.tenant_id == self._tenant, _run.id < (after or _LAST_ID))
            .order_by(_run.id.desc())
            .limit(limit)
        )
        async with as_tenant(self._engine, self._tenant) as connection:
            if await self._one(connection, schedule_id) is None:
                return None
            found = list((await connection.execute(query)).scalars())
            return (await connection.execute(statement("schedule_read_runs"), {"id": found})).mappings().all()

    async def _one(self, connection: AsyncConnection, schedule_id: UUID, *, lock: bool = False) -> Schedule | None:
        query = select(*_COLUMNS).where(_schedule.id == schedule_id, _schedule.tenant_id == self._tenant)
        if lock:
            # Not more: whoever ends a run holds its row, and looks whether the schedule is still there (the foreign key).
            query = query.with_for_update(key_share=True)
        row = (await connection.execute(query)).mappings().first()
        return None if row is None else Schedule(**row)


def _for_table(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON goes in as the text it is; None is no JSON, not the JSON `null`."""
    return {name: _json(value) if name in _AS_TEXT else value for name, value in values.items()}


def _json(value: str | None) -> ColumnElement[Any]:
    return null() if value is None else cast(type_coerce(value, String), JSON)
