"""What each operation is called, takes and answers, as `/openapi.json` tells it."""

from typing import Any, Final

from pydantic import BaseModel

from api.lookup import DEFAULT_LIMIT, MAX_LIMIT
from api.schemas import answers as a
from api.schemas import route as r
from api.schemas.job_request import ENDPOINTS, JobRequest
from core import ids
from core.lifecycle import Status
from core.settings import JOB_LANES

Document = dict[str, Any]

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_ID_PATTERN: Final = "_[0-7][0-9a-hjkmnp-tv-z]{25}$"
_SECONDS: Final = {"type": "integer", "minimum": 0, "description": "Cut to 60."}


def _id(prefix: str) -> Document:
    return {"type": "string", "pattern": f"^{prefix}{_ID_PATTERN}"}


def _ref(model: type[BaseModel]) -> Document:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _query(name: str, schema: Document, description: str) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _header(name: str, schema: Document, description: str) -> Document:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def _answer(description: str, model: type[BaseModel] | None = None, **headers: str) -> Document:
    told: Document = {"description": description}
    if model is not None:
        told["content"] = {"application/json": {"schema": _ref(model)}}
    if headers:
        told["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": _TEXT} for name, text in headers.items()
        }
    return told


_IDEMPOTENCY = _header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "Makes a repeated request safe for 24 hours: the same key and payload answer with the first object.",
)
_WAIT = _query("wait", _SECONDS, "Hold the answer until the job has ended or so many seconds have passed.")
_PAGED = [
    _query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}, "Most items."),
    _query("after", _id(ids.JOB), "Items older than this id; what it names may be gone."),
]
_FILTERS = [
    _query("status", {"type": "string", "enum": list(Status)}, "Only jobs in this state."),
    _query("lane", {"type": "string", "enum": list(JOB_LANES)}, "Only jobs of this lane."),
    _query("endpoint", {"type": "string", "enum": list(ENDPOINTS)}, "Only jobs for this operation."),
    _query("model", _TEXT, "Only jobs for this model."),
    _query("group_id", _id(ids.GROUP), "Only jobs of this group."),
    _query("schedule_id", _id(ids.SCHEDULE), "Only jobs of this schedule."),
    _query("created_after", _TIME, "Only jobs accepted after this moment."),
    _query("created_before", _TIME, "Only jobs accepted before this moment."),
    {
        "name": "metadata",
        "in": "query",
        "required": False,
        "style": "deepObject",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": _TEXT},
        "description": "Only jobs with these labels: `?metadata[customer]=42`.",
    },
]
_EXAMPLES: Final = {
    "chat": {
        "summary": "A chat completion",
        "value": {
            "endpoint": "/v1/chat/completions",
            "body": {"model": "local/summarize", "messages": [{"role": "user", "content": "A long text to sum up."}]},
        },
    },
    "embedding": {
        "summary": "Embeddings, not urgent",
        "value": {
            "endpoint": "/v1/embeddings",
            "body": {"model": "local/embed", "input": ["one text", "another text"]},
            "lane": "bulk",
            "metadata": {"document": "42"},
        },
    },
    "later": {
        "summary": "Not before an hour from now, with a webhook",
        "value": {
            "endpoint": "/v1/chat/completions",
            "body": {"model": "local/keypoints", "messages": [{"role": "user", "content": "Minutes of a meeting."}]},
            "delay_s": 3600,
            "webhook": {"url": "https://example.com/hooks/coatcheck", "events": ["job.succeeded"]},
        },
    },
}
_JOB_BODY: Final = {
    "required": True,
    "content": {"application/json": {"schema": _ref(JobRequest), "examples": _EXAMPLES}},
}
_BULK_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "array", "items": _ref(JobRequest), "minItems": 1, "maxItems": 10_000},
            "example": [_EXAMPLES["embedding"]["value"], _EXAMPLES["chat"]["value"]],
        },
        "application/x-ndjson": {"schema": {**_TEXT, "description": "One job request on each line."}},
    },
}
_ROUTE_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _ref(r.RouteRequest),
            "example": {
                "endpoint": "/v1/chat/completions",
                "body": {
                    "model": "auto",
                    "messages": [{"role": "user", "content": "Prove that sqrt(2) + sqrt(3) is irrational."}],
                },
            },
        }
    },
}
_STREAM: Final = {
    "description": "The events, until the job has ended.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "Each event.",
                "required": ["id", "event", "data"],
                "properties": {
                    "id": {**_TEXT, "description": "The event's number, rising from 1."},
                    "event": {**_TEXT, "description": "Its type."},
                    "data": {**_TEXT, "description": "JSON."},
                },
            }
        }
    },
}

Operation = tuple[str, str, list[Document], Document | None, dict[int, Document], tuple[int, ...]]

#: (method, path) -> (summary, description, parameters, request body, answers, statuses of problems beside the usual ones)
OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("POST", "/v1/jobs"): (
        "Submit a job",
        ("Hand over one AI request. The answer leaves when the job is stored durably, usually within a millisecond or two; "
        "the work is done by workers. Follow it by `status_url`, by `events_url` or by a webhook."),
        [_IDEMPOTENCY, _header("Prefer", _TEXT, "`wait=N` holds the answer up to N (≤ 60) seconds until the job has ended.")],
        _JOB_BODY,
        {
            202: _answer("Accepted.", a.Job, Location="The job's path.", Preference_Applied="What of Prefer was heeded."),
            200: _answer("Ended already: the job with its result.", a.Job, Location="The job's path."),
        },
        (409, 422),
    ),
    ("GET", "/v1/jobs/{id}"): (
        "Get a job",
        "The job as it stands. Poll it cheaply with `If-None-Match`, or let `wait` hold the answer.",
        [_WAIT, _header("If-None-Match", _TEXT, "The ETag of an earlier answer.")],
        None,
        {
            200: _answer(
                "The job.", a.Job, ETag="Changes with the job.", Retry_After="When to ask again.",
                openai_poll_after_ms="The same in milliseconds.",
            ),
            304: _answer("Nothing has changed."),
        },
        (422,),
    ),
    ("GET", "/v1/jobs"): (
        "List jobs",
        "Your jobs, newest first. Results over 64 KB are left out here.",
        [*_PAGED, *_FILTERS],
        None,
        {200: _answer("A page of jobs.", a.JobPage)},
        (422,),
    ),
    ("POST", "/v1/jobs/bulk"): (
        "Submit many jobs",
        ("Up to 10,000 jobs as a JSON array or one per line (`application/x-ndjson`, up to 64 MB), stored together or "
        "not at all. When jobs are not valid, each is named by `pointer` (counted from 0) and `line` (from 1)."),
        [_IDEMPOTENCY],
        _BULK_BODY,
        {202: _answer("Accepted: the group of the jobs.", a.Group, Location="The group's path.")},
        (409, 422),
    ),
    ("GET", "/v1/jobs/{id}/events"): (
        "Follow a job",
        ("Server-sent events: `job.queued`, `job.started`, `job.delta` (for `body.stream: true`), `job.retrying`, "
        "`job.reset`, and one of `job.succeeded`, `job.failed`, `job.cancelled`, `job.expired` with the job, after "
        "which the stream ends. A reader resumes where it was with `Last-Event-ID` or `after`, also after the end."),
        [
            _query("after", {"type": "integer", "minimum": 0}, "Only events with a higher number."),
            _header("Last-Event-ID", {"type": "integer", "minimum": 0}, "The same; browsers send it by themselves."),
        ],
        None,
        {200: _STREAM},
        (422,),
    ),
    ("POST", "/v1/jobs/{id}/cancel"): (
        "Cancel a job",
        "Ends a queued or running job; the upstream request is aborted. A job that has ended stays as it is.",
        [],
        None,
        {200: _answer("The job.", a.Job)},
        (),
    ),
    ("POST", "/v1/jobs/{id}/retry"): (
        "Retry a job",
        "Queues a failed, cancelled or expired job again, with one more attempt allowed.",
        [],
        None,
        {200: _answer("The job.", a.Job)},
        (409,),
    ),
    ("GET", "/v1/jobs/{id}/attempts"): (
        "List a job's attempts",
        "Every try at running the job, oldest first.",
        [],
        None,
        {200: _answer("The attempts.", a.AttemptPage)},
        (422,),
    ),
    ("DELETE", "/v1/jobs/{id}"): (
        "Delete a job",
        "Removes an ended job with its attempts, events and deliveries.",
        [],
        None,
        {204: _answer("Gone.")},
        (409,),
    ),
    ("GET", "/v1/groups/{id}"): (
        "Get a group",
        "Jobs submitted together, counted by state.",
        [],
        None,
        {200: _answer("The group.", a.Group)},
        (422,),
    ),
    ("POST", "/v1/groups/{id}/cancel"): (
        "Cancel a group",
        "Cancels all its jobs that have not ended.",
        [],
        None,
        {200: _answer("The group.", a.Group)},
        (),
    ),
    ("GET", "/v1/models"): (
        "List models", "What `body.model` may name.", [], None, {200: _answer("The models.", a.ModelPage)}, (422,),
    ),
    ("GET", "/v1/deployments"): (
        "List deployments",
        "The upstreams behind the models and how they are doing.",
        [],
        None,
        {200: _answer("The deployments.", a.DeploymentPage)},
        (422,),
    ),
    ("POST", "/v1/route"): (
        "Ask for a route",
        ("Which model a request would get, and why, without running it. With `body.model` `auto`, `auto:cheap`, `auto:fast` or "
        "`auto:best` a small classifier judges how demanding the prompt is, and the catalog's `[auto]` maps that to models."),
        [],
        _ROUTE_BODY,
        {200: _answer("The model, and all that were considered.", r.Route)},
        (422,),
    ),
    ("GET", "/v1/usage"): (
        "Read usage",
        ("What your jobs used and what it cost, summed over UTC days. `cost_usd` leaves out jobs whose price is not known; "
        "`unpriced_jobs` says how many."),
        [
            _query("from", {"type": "string", "format": "date"}, "The first day; 30 days in all unless given."),
            _query("to", {"type": "string", "format": "date"}, "The last day; today unless given."),
            _query("group_by", {"type": "string", "default": "day,model"}, "Some of day, key, model, endpoint, lane."),
            _query("key_id", _id(ids.KEY), "Only of this key."),
            _query("model", _TEXT, "Only of this model."),
        ],
        None,
        {200: _answer("The sums.", a.UsageReport)},
        (422,),
    ),
    ("GET", "/"): ("Start", "Where things are.", [], None, {200: _answer("The addresses.", a.Home)}, ()),
    ("GET", "/healthz"): ("Liveness", "Whether the process answers.", [], None, {200: _answer("It does.", a.Alive)}, ()),
    ("GET", "/readyz"): (
        "Readiness",
        ("Whether jobs are accepted: 503 only without Postgres, or when this process can't store jobs any more. `degraded` names "
        "what else is missing."),
        [],
        None,
        {200: _answer("Ready.", a.Ready)},
        (),
    ),
    ("GET", "/metrics"): (
        "Metrics",
        "Prometheus metrics of all processes. From this machine without a key, from elsewhere with the scope `admin`.",
        [],
        None,
        {200: {"description": "The page.", "content": {"text/plain": {"schema": _TEXT}}}},
        (401, 403),
    ),
}  # fmt: skip


def options(method: str, path: str) -> dict[str, Any]:
    """Return what FastAPI's `add_api_route` is told about an operation."""
    summary, description, parameters, body, told, problems = OPERATIONS[method, path]
    if "{id}" in path:
        parameters = [{"name": "id", "in": "path", "required": True, "schema": _TEXT}, *parameters]
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
