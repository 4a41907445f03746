"""`/openapi.json` and `/docs`, complete and without the internet."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.answers import Answer
from api.problems import KINDS
from api.routes.cache import Invalidation
from api.routing import Call, PlainRoute, needs
from api.schemas import answers
from api.schemas.bodies import BODIES
from api.schemas.job_request import JobRequest
from api.schemas.route import Route, RouteRequest
from api.schemas.schedule_runs import RunCompleted
from api.schemas.schedules import NewSchedule, ScheduleChange

_ASSETS: Final = "/docs/assets"
#: Swagger UI 5, which knows OpenAPI 3.1, as a plain package.
_PACKAGE: Final = "fastapi_offline"
_WITHOUT_ASSETS: Final = (
    b"<!doctype html><title>Coatcheck</title><p>The package fastapi-offline, which brings the pages for "
    b'<a href="/openapi.json">/openapi.json</a>, is not installed.'
)
_REF: Final = "#/components/schemas/{model}"
_DESCRIPTION: Final = """\
A durable queue for AI jobs. Submit a request in OpenAI's shape, get a job with its URLs at once, and collect the result by
polling, long-polling, a live event stream or a signed webhook.

**Start here.** Make a key with `coatcheck keys create --tenant NAME` (the one-machine stack prints one), click *Authorize*, then
try *Submit a job* with one of its examples and *Get a job* with `wait=10`.

**Errors** are `application/problem+json` with a stable `error.code`; OpenAI's SDKs read them as their own. Every answer carries
`x-request-id`. 429 and 503 say in `Retry-After` and `retry-after-ms` when to come back, and tell the key's allowance in
`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; 9007199254740991 there means that nothing is limited, or that the key
could not be looked up.

**HEAD** works wherever GET does and answers with the same headers.

**Ids** start with what they name: `job_…`, `grp_…`, `sch_…`, `we_…`. **Times** are ISO 8601 in UTC.
"""
_SHOWN: Final[list[type[BaseModel]]] = [
    answers.Job, answers.Group, answers.JobPage, answers.AttemptPage, answers.ModelPage, answers.DeploymentPage,
    answers.UsageReport, answers.Home, Route, answers.Alive, answers.Ready, answers.Problem, answers.JobEnded,
    answers.GroupCompleted, RunCompleted,
]  # fmt: skip
_USUAL: Final = (400, 500, 503)
_KEYED: Final = (401, 403, 429)
_WITH_BODY: Final = (408, 413, 415, 422)


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document."""
    made = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, webhooks=app.webhooks.routes
    )
    components = made.setdefault("components", {})
    components.setdefault("schemas", {}).update(_schemas())
    components["headers"] = _RATE_HEADERS
    components["securitySchemes"] = {
        "ApiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `cc_` and 43 more characters."}
    }
    for route in app.routes:
        if isinstance(route, PlainRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(made["paths"][route.path][method.lower()], route)
    made["webhooks"] = _webhooks()
    return made


def _schemas() -> dict[str, Any]:
    inputs: list[type[BaseModel]] = [
        JobRequest,
        RouteRequest,
        NewSchedule,
        ScheduleChange,
        Invalidation,
        *BODIES.values(),
    ]
    modes: Any = [(model, "validation") for model in inputs] + [(model, "serialization") for model in _SHOWN]
    _, defined = models_json_schema(modes, ref_template=_REF)
    schemas: dict[str, Any] = defined["$defs"]
    for request in ("JobRequest", "RouteRequest"):
        schemas[request]["properties"]["body"] |= {
            "type": "object",
            "properties": {"model": {"type": "string", "minLength": 1}},
            "required": ["model"],
            "anyOf": [{"$ref": _REF.format(model=body.__name__)} for body in BODIES.values()],
        }
    for member in schemas["ScheduleChange"]["properties"].values():
        member.pop("default", None)  # what is left out stays as it is
    return schemas


def _complete(operation: dict[str, Any], route: PlainRoute) -> None:
    """Add what all operations of a kind share: security, problems, headers."""
    responses = operation["responses"]
    statuses = {*_USUAL, *(int(status) for status in responses if status.isdigit() and int(status) >= 400)}
    if route.scope_needed is not None:
        statuses |= set(_KEYED)
        operation["security"] = [{"ApiKey": []}]
        operation["description"] = (
            f"{operation.get('description', '')}\n\nNeeds the scope `{route.scope_needed}`.".strip()
        )
    if "{id}" in route.path:
        statuses.add(404)
    if "requestBody" in operation:
        statuses |= set(_WITH_BODY)
    for status in sorted(statuses):
        responses[str(status)] = _problem(status)
    responses["default"] = {"description": "Any other problem.", "content": _PROBLEM_BODY}
    for told in responses.values():
        told.setdefault("headers", {})["x-request-id"] = {
            "schema": {"type": "string"},
            "description": "Names this request.",
        }


_PROBLEM_BODY: Final = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}


_RATE_HEADERS: Final = {
    f"x-ratelimit-{what}-{kind}": {"schema": {"type": "string" if what == "reset" else "integer"}, "description": text}
    for kind in ("requests", "tokens")
    for what, text in (
        ("limit", f"Most {kind} a minute; 9007199254740991: no limit."),
        ("remaining", f"The {kind} left of them."),
        ("reset", "When all are there again, such as `60.000s`."),
    )
}


def _problem(status: int) -> dict[str, Any]:
    codes = ", ".join(f"`{code}`" for code, kind in KINDS.items() if kind.status == status)
    told: dict[str, Any] = {"description": f"Problem: {codes}.", "content": _PROBLEM_BODY}
    if status in (429, 503):
        told["headers"] = {
            name: {"schema": {"type": "integer"}, "description": "When to come back."}
            for name in ("Retry-After", "retry-after-ms")
        } | {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS}
    return told


def _webhooks() -> dict[str, Any]:
    def hook(event: str, model: type[BaseModel], when: str) -> dict[str, Any]:
        signed = [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": text}
            for name, text in (
                ("webhook-id", "The event's id."),
                ("webhook-timestamp", "Seconds since 1970, of this try."),
                (
                    "webhook-signature",
                    "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; several with spaces.",
                ),
            )
        ]
        return {
            "post": {
                "summary": when,
                "description": "Signed as Standard Webhooks 1.0 describes. Answer 2xx within 15 s; anything else is tried again.",
                "operationId": event.replace(".", "_"),
                "tags": ["Webhooks"],
                "parameters": signed,
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}},
                },
                "responses": {"2XX": {"description": "Received."}, "410": {"description": "Disables the endpoint."}},
            }
        }

    hooks = {
        f"job.{end}": hook(f"job.{end}", answers.JobEnded, f"A job has {end}.")
        for end in ("succeeded", "failed", "expired")
    }
    hooks["job.cancelled"] = hook("job.cancelled", answers.JobEnded, "A job was cancelled.")
    hooks["group.completed"] = hook("group.completed", answers.GroupCompleted, "The last job of a group has ended.")
    hooks["schedule.run_completed"] = hook("schedule.run_completed", RunCompleted, "A run of a schedule has ended.")
    return hooks


def add_docs(app: FastAPI) -> None:
    """Serve `/openapi.json`, and `/docs` with assets from an installed package."""
    assets = _assets()

    @needs(None)
    async def openapi_json(_: Call) -> Answer:
        return Answer(200, _encoded(app))

    @needs(None)
    async def docs(_: Call) -> Answer:
        if assets is None:
            return Answer(200, _WITHOUT_ASSETS, content_type=b"text/html; charset=utf-8")
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon.png",
            swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
        )
        return Answer(200, bytes(page.body), content_type=b"text/html; charset=utf-8")

    app.add_api_route("/openapi.json", openapi_json, methods=["GET"], include_in_schema=False)
    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
    if assets is not None:
        app.mount(_ASSETS, StaticFiles(directory=assets), name="docs-assets")


def _assets() -> Path | None:
    """Return the folder of Swagger UI's files; None when the package is not installed: jobs don't depend on it."""
    return Path(str(files(_PACKAGE))) / "static" if find_spec(_PACKAGE) is not None else None


def _encoded(app: FastAPI) -> bytes:
    if app.openapi_schema is None:
        app.openapi_schema = document(app)
    return orjson.dumps(app.openapi_schema)
