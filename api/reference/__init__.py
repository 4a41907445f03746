"""What each operation is called, takes and answers, as `/openapi.json` tells it."""

from typing import Any, Final

from api.reference.jobs import JOBS
from api.reference.models import MODELS
from api.reference.pieces import PATH_ID, Document, Operation
from api.reference.process import PROCESS

#: By method and path.
OPERATIONS: Final[dict[tuple[str, str], Operation]] = JOBS | MODELS | PROCESS


def options(method: str, path: str) -> dict[str, Any]:
    """Return what FastAPI's `add_api_route` is told about an operation."""
    summary, description, parameters, body, told, problems = OPERATIONS[method, path]
    if "{id}" in path:
        parameters = [PATH_ID, *parameters]
    extra: Document = {"parameters": parameters} if parameters else {}
    if body is not None:
        extra["requestBody"] = body
    tags = {"groups": "Groups", "jobs": "Jobs"}
    kind = path.split("/")[2] if path.startswith("/v1/") else ""
    return {
        "methods": [method],
        "summary": summary,
        "description": description,
        "tags": [tags.get(kind, "Models" if kind else "Operations")],
        "status_code": next(iter(told)),
        "responses": dict(told) | {status: {} for status in problems},
        "openapi_extra": extra,
    }
