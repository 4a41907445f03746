"""The operations on schedules as `/openapi.json` tells of them."""

from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from api.reference.pieces import TEXT, add_operation, query, ref
from api.routes import schedules
from api.schemas.schedule_runs import RunOut, RunPage
from api.schemas.schedules import NewSchedule, ScheduleChange, ScheduleOut, SchedulePage

_ALL: Final = "/v1/schedules"
_ONE: Final = _ALL + "/{id}"
_PAGED: Final = [
    query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Most items."),
    query("after", TEXT, "Older than this id."),
]
_EXAMPLES: Final[dict[type[BaseModel], dict[str, Any]]] = {
    NewSchedule: {
        "name": "Category pages",
        "kind": "prewarm",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "template": {
            "endpoint": "/v1/chat/completions",
            "body": {
                "model": "local/keypoints",
                "messages": [{"role": "user", "content": "What do {{segment}} like about {{category}}?"}],
            },
        },
        "matrix": {"segment": ["families", "students"], "category": ["tents", "boots"]},
        "budget": {"max_jobs": 100},
        "ttl_s": 86400,
    },
    ScheduleChange: {"paused": True},
}


def add_schedule_routes(app: FastAPI) -> None:
    """Add all of them to the application."""
    add = partial(add_operation, app, tag="Schedules")
    made, changed = _json_body(NewSchedule), _json_body(ScheduleChange)
    page: dict[str, Any] = {"parameters": _PAGED, "problems": (422,)}
    add("POST", _ALL, schedules.create_schedule, ScheduleOut, "Stored.", status=201, body=made)
    add("GET", _ALL, schedules.list_schedules, SchedulePage, "A page.", **page)
    add("GET", _ONE, schedules.get_schedule, ScheduleOut, "The schedule.", problems=(422,))
    add("PATCH", _ONE, schedules.change_schedule, ScheduleOut, "As it is now.", body=changed, problems=(409,))
    add("DELETE", _ONE, schedules.delete_schedule, None, "Forgotten.", status=204)
    add("POST", _ONE + "/run", schedules.run_schedule, RunOut, "It has begun.", status=202, problems=(409,))
    add("GET", _ONE + "/runs", schedules.list_runs, RunPage, "A page.", **page)


def _json_body(model: type[BaseModel]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": ref(model), "example": _EXAMPLES[model]}}}
