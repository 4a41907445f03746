"""Schedules: what runs when. The API stores them and starts runs; workers fire them."""

from collections.abc import Mapping
from typing import Any, Final

from api.answers import Answer, json_answer
from api.auth import ADMIN
from api.lookup import page_answer, page_size, path_id, query_id
from api.problems import Problem, invalid, not_found
from api.routing import Call, needs
from api.scheduled_jobs import checked_members
from api.schemas.schedules import NewSchedule, ScheduleChange, as_given, as_text, render_schedule
from api.schemas.webhooks import checked
from core import ids
from core.cron import CronError
from core.render import render_run
from core.store.schedules import ChangedMeanwhile, Schedule, ScheduleStore, StillRunning, begins_at

_WHAT: Final = "schedule"
# Whose workers fire schedules.
_LANE: Final = "maintenance"
_TIMES: Final = frozenset({"cron", "timezone", "paused"})
_MAKES_JOBS: Final = frozenset({"template", "matrix", "budget"})


@needs(ADMIN)
async def create_schedule(call: Call) -> Answer:
    """Check everything that the schedule will run, and store it."""
    wanted = checked(NewSchedule, await call.json()).model_dump()
    members = await checked_members(call, _as_told(wanted))
    values = as_text(members) | {"key_id": call.key.id, "next_run_at": _next(members)}
    schedule = await _store(call).add(ids.new_id(), values)
    told = render_schedule(schedule)
    return json_answer(told, 201, [(b"location", f"/v1/schedules/{told['id']}".encode())])


@needs(ADMIN)
async def list_schedules(call: Call) -> Answer:
    """The schedules, newest first."""
    query = call.query("limit", "after")
    limit, after = page_size(query), query_id(query, "after", ids.SCHEDULE)
    found = await _store(call).page(after=after, limit=limit + 1)
    return page_answer(found, limit, render_schedule)


@needs(ADMIN)
async def get_schedule(call: Call) -> Answer:
    """One schedule, with its next five times."""
    schedule_id = path_id(call, ids.SCHEDULE, _WHAT)
    call.query()
    return json_answer(render_schedule(_there(await _store(call).one(schedule_id))))


@needs(ADMIN)
async def change_schedule(call: Call) -> Answer:
    """Change a schedule; what is left out stays as it is. A run that goes on is not touched by it."""
    schedule_id = path_id(call, ids.SCHEDULE, _WHAT)
    change = checked(ScheduleChange, await call.json())
    changes = _as_told(change.model_dump(include=change.model_fields_set))
    before = _there(await _store(call).one(schedule_id))
    if not changes:
        return json_answer(render_schedule(before))
    members = as_given(before) | changes
    if changes.keys() & _MAKES_JOBS:
        members = await checked_members(call, members)
    values = as_text({name: members[name] for name in changes})
    if any(members[name] != getattr(before, name) for name in _TIMES):
        # Only then: a time that has just come and that nobody has looked at yet would be passed over.
        values["next_run_at"] = _next(members)
    try:
        return json_answer(render_schedule(await _store(call).change(before, values)))
    except ChangedMeanwhile:
        raise Problem("invalid_state", "The schedule was changed at the same time; try again.") from None


@needs(ADMIN)
async def delete_schedule(call: Call) -> Answer:
    """Forget a schedule and its runs; jobs that it has made go on."""
    schedule_id = path_id(call, ids.SCHEDULE, _WHAT)
    await call.no_body()
    if not await _store(call).remove(schedule_id):
        raise not_found(_WHAT)
    return Answer(204)


@needs(ADMIN)
async def run_schedule(call: Call) -> Answer:
    """Start a run now, paused or not."""
    schedule_id = path_id(call, ids.SCHEDULE, _WHAT)
    await call.no_body()
    try:
        run = await _store(call).run_now(schedule_id)
    except StillRunning as going:
        detail = f"The run {ids.encode(ids.RUN, going.run_id)} is still going on; a schedule has one at a time."
        raise Problem("invalid_state", detail) from None
    if run is None:
        raise not_found(_WHAT)
    call.services.doorbell.ring(_LANE)
    return json_answer(render_run(run), 202)


@needs(ADMIN)
async def list_runs(call: Call) -> Answer:
    """A schedule's runs, newest first."""
    schedule_id = path_id(call, ids.SCHEDULE, _WHAT)
    query = call.query("limit", "after")
    limit, after = page_size(query), query_id(query, "after", ids.RUN)
    found = await _store(call).runs(schedule_id, after=after, limit=limit + 1)
    if found is None:
        raise not_found(_WHAT)
    return page_answer(found, limit, render_run)


def _as_told(members: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a budget does not limit: it is shown as it was handed in."""
    if members.get("budget") is not None:
        members["budget"] = {name: value for name, value in members["budget"].items() if value is not None}
    return members


def _next(members: Mapping[str, Any]) -> Any:
    try:
        return begins_at(members["kind"], members["cron"], members["timezone"], paused=members["paused"])
    except CronError as error:
        raise invalid("/cron", f"{error}.") from None


def _store(call: Call) -> ScheduleStore:
    return ScheduleStore(call.services.engine, call.key.tenant_id)


def _there(schedule: Schedule | None) -> Schedule:
    if schedule is None:
        raise not_found(_WHAT)
    return schedule
