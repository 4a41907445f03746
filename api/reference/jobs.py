"""The operations on jobs and groups."""

from typing import Final

from api.lookup import DEFAULT_LIMIT, MAX_LIMIT
from api.reference.pieces import TEXT, TIME, Operation, answer, header, query, ref, typed_id
from api.schemas import answers as a
from api.schemas.job_request import ENDPOINTS, JobRequest
from core import ids
from core.lifecycle import Status
from core.settings import JOB_LANES

_SECONDS: Final = {"type": "integer", "minimum": 0, "description": "Cut to 60."}
_IDEMPOTENCY = header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "Makes a repeated request safe for 24 hours: the same key and payload answer with the first object.",
)
_WAIT = query("wait", _SECONDS, "Hold the answer until the job has ended or so many seconds have passed.")
_PAGED = [
    query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}, "Most items."),
    query("after", typed_id(ids.JOB), "Items older than this id; what it names may be gone."),
]
_FILTERS = [
    query("status", {"type": "string", "enum": list(Status)}, "Only jobs in this state."),
    query("lane", {"type": "string", "enum": list(JOB_LANES)}, "Only jobs of this lane."),
    query("endpoint", {"type": "string", "enum": list(ENDPOINTS)}, "Only jobs for this operation."),
    query("model", TEXT, "Only jobs for this model."),
    query("group_id", typed_id(ids.GROUP), "Only jobs of this group."),
    query("schedule_id", typed_id(ids.SCHEDULE), "Only jobs of this schedule."),
    query("created_after", TIME, "Only jobs accepted after this moment."),
    query("created_before", TIME, "Only jobs accepted before this moment."),
    {
        "name": "metadata",
        "in": "query",
        "required": False,
        "style": "deepObject",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": TEXT},
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
    "content": {"application/json": {"schema": ref(JobRequest), "examples": _EXAMPLES}},
}
_BULK_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "array", "items": ref(JobRequest), "minItems": 1, "maxItems": 10_000},
            "example": [_EXAMPLES["embedding"]["value"], _EXAMPLES["chat"]["value"]],
        },
        "application/x-ndjson": {"schema": {**TEXT, "description": "One job request on each line."}},
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
                    "id": {**TEXT, "description": "The event's number, rising from 1."},
                    "event": {**TEXT, "description": "Its type."},
                    "data": {**TEXT, "description": "JSON."},
                },
            }
        }
    },
}

JOBS: Final[dict[tuple[str, str], Operation]] = {
    ("POST", "/v1/jobs"): (
        "Submit a job",
        ("Hand over one AI request. The answer leaves when the job is stored durably, usually within a millisecond or two; "
        "the work is done by workers. Follow it by `status_url`, by `events_url` or by a webhook."),
        [_IDEMPOTENCY, header("Prefer", TEXT, "`wait=N` holds the answer up to N (≤ 60) seconds until the job has ended.")],
        _JOB_BODY,
        {
            202: answer("Accepted.", a.Job, Location="The job's path.", Preference_Applied="What of Prefer was heeded."),
            200: answer("Ended already: the job with its result.", a.Job, Location="The job's path."),
        },
        (409, 422),
    ),
    ("GET", "/v1/jobs/{id}"): (
        "Get a job",
        "The job as it stands. Poll it cheaply with `If-None-Match`, or let `wait` hold the answer.",
        [_WAIT, header("If-None-Match", TEXT, "The ETag of an earlier answer.")],
        None,
        {
            200: answer(
                "The job.", a.Job, ETag="Changes with the job.", Retry_After="When to ask again.",
                openai_poll_after_ms="The same in milliseconds.",
            ),
            304: answer("Nothing has changed."),
        },
        (422,),
    ),
    ("GET", "/v1/jobs"): (
        "List jobs",
        "Your jobs, newest first. Results over 64 KB are left out here.",
        [*_PAGED, *_FILTERS],
        None,
        {200: answer("A page of jobs.", a.JobPage)},
        (422,),
    ),
    ("POST", "/v1/jobs/bulk"): (
        "Submit many jobs",
        ("Up to 10,000 jobs as a JSON array or one per line (`application/x-ndjson`, up to 64 MB), stored together or "
        "not at all. When jobs are not valid, each is named by `pointer` (counted from 0) and `line` (from 1)."),
        [_IDEMPOTENCY],
        _BULK_BODY,
        {202: answer("Accepted: the group of the jobs.", a.Group, Location="The group's path.")},
        (409, 422),
    ),
    ("GET", "/v1/jobs/{id}/events"): (
        "Follow a job",
        ("Server-sent events: `job.queued`, `job.started`, `job.delta` (for `body.stream: true`), `job.retrying`, "
        "`job.reset`, and one of `job.succeeded`, `job.failed`, `job.cancelled`, `job.expired` with the job, after "
        "which the stream ends. A reader resumes where it was with `Last-Event-ID` or `after`, also after the end."),
        [
            query("after", {"type": "integer", "minimum": 0}, "Only events with a higher number."),
            header("Last-Event-ID", {"type": "integer", "minimum": 0}, "The same; browsers send it by themselves."),
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
        {200: answer("The job.", a.Job)},
        (),
    ),
    ("POST", "/v1/jobs/{id}/retry"): (
        "Retry a job",
        "Queues a failed, cancelled or expired job again, with one more attempt allowed.",
        [],
        None,
        {200: answer("The job.", a.Job)},
        (409,),
    ),
    ("GET", "/v1/jobs/{id}/attempts"): (
        "List a job's attempts",
        "Every try at running the job, oldest first.",
        [],
        None,
        {200: answer("The attempts.", a.AttemptPage)},
        (422,),
    ),
    ("DELETE", "/v1/jobs/{id}"): (
        "Delete a job",
        "Removes an ended job with its attempts, events and deliveries.",
        [],
        None,
        {204: answer("Gone.")},
        (409,),
    ),
    ("GET", "/v1/groups/{id}"): (
        "Get a group",
        "Jobs submitted together, counted by state.",
        [],
        None,
        {200: answer("The group.", a.Group)},
        (422,),
    ),
    ("POST", "/v1/groups/{id}/cancel"): (
        "Cancel a group",
        "Cancels all its jobs that have not ended.",
        [],
        None,
        {200: answer("The group.", a.Group)},
        (),
    ),
}  # fmt: skip
