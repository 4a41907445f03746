"""The operations on schedules as `/openapi.json` tells of them."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from api.routes import schedules
from api.schemas.schedules import NewSchedule, RunOut, RunPage, ScheduleChange, ScheduleOut, SchedulePage

_ALL: Final = "/v1/schedules"
_ONE: Final = _ALL + "/{id}"
_TEXT: Final = {"type": "string"}
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

    def add(method: str, path: str, handler: Any, answer: type[BaseModel] | None, told: str, **more: Any) -> None:
        status, problems = more.pop("status", 200), more.pop("problems", ())
        shown = {"description": told} | ({"model": answer} if answer else {})
        app.add_api_route(
            path,
            handler,
            methods=[method],
            status_code=status,
            tags=["Schedules"],
            # What a problem looks like is filled in where the document is finished.
            responses={status: shown} | {problem: {"description": "Problem."} for problem in problems},
            openapi_extra=_described(path, **more),
        )

    add("POST", _ALL, schedules.create_schedule, ScheduleOut, "Stored.", status=201, body=NewSchedule)
    add("GET", _ALL, schedules.list_schedules, SchedulePage, "A page.", paged=True, problems=(422,))
    add("GET", _ONE, schedules.get_schedule, ScheduleOut, "The schedule.", problems=(422,))
    changed = {"body": ScheduleChange, "problems": (409,)}
    add("PATCH", _ONE, schedules.change_schedule, ScheduleOut, "As it is now.", **changed)
    add("DELETE", _ONE, schedules.delete_schedule, None, "Forgotten.", status=204)
    add("POST", _ONE + "/run", schedules.run_schedule, RunOut, "It has begun.", status=202, problems=(409,))
    add("GET", _ONE + "/runs", schedules.list_runs, RunPage, "A page.", paged=True, problems=(422,))


def _described(path: str, *, body: type[BaseModel] | None = None, paged: bool = False) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    if "{id}" in path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": _TEXT})
    if paged:
        limit = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
        parameters += [
            {"name": "limit", "in": "query", "required": False, "schema": limit, "description": "Most items."},
            {"name": "after", "in": "query", "required": False, "schema": _TEXT, "description": "Older than this id."},
        ]
    told: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if body is not None:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": _EXAMPLES[body]}},
        }
    return told
