"""The shapes of answers, for `/openapi.json`. Rendering itself is `core.render`'s; a test holds the two together."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.job_request import Endpoint
from core.lifecycle import Status


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class JobError(_Answer):
    """Why a job failed."""

    code: str = Field(description="Stable; `upstream_error`, `timeout`, `worker_lost`, `attempts_exhausted`, …")
    message: str
    retryable: bool | None = None
    upstream_status: int | None = None


class Usage(_Answer):
    """Tokens as the upstream counted them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    total_tokens: int | None = None
    saved_tokens: int | None = Field(None, description="Input tokens spared by thrift; only where it is on.")


class Saved(_Answer):
    """What a job was spared that was answered from the cache, or with another job's call."""

    tokens: int
    usd: str | None = Field(description="Null when the price is not known.")
    ms: float


class CacheState(_Answer):
    """What caches did for the job."""

    status: Literal["miss", "hit", "semantic_hit", "coalesced", "refreshed", "bypass"]
    similarity: float | None = None
    age_s: float | None = None
    saved: Saved | None = None


class Timing(_Answer):
    """Where the time went, in milliseconds. Null is what was not measured, or not yet."""

    queued_ms: float | None = Field(description="From acceptance, or run_at, to the attempt's start.")
    batch_size: int | None = Field(
        description="Jobs that shared its upstream call; where it had one of its own, those claimed together. Itself included."
    )
    connect_ms: float | None
    ttft_ms: float | None = Field(description="Time to the first token.")
    itl_ms: float | None = Field(description="Between two tokens.")
    tokens_per_s: float | None
    upstream_ms: float | None
    overhead_ms: float | None = Field(description="What the upstream did not take: total less upstream.")
    total_ms: float | None
    thrift_ms: float | None = Field(None, description="Spent on saving tokens; only where the model's policy saves.")


class Job(_Answer):
    """A piece of AI work and where it stands."""

    id: str = Field(examples=["job_01m7w18qbbetfb5kwf072qxb6c"])
    object: Literal["job"]
    status: Status
    endpoint: Endpoint
    model: str
    lane: Literal["interactive", "default", "bulk", "prewarm"]
    priority: int
    status_url: str
    events_url: str
    cancel_url: str
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    attempts: int
    max_attempts: int
    queue_position: int | None = Field(description="Only for a queued job read by its id; exact to 1,000, then 1000.")
    result: dict[str, Any] | None = Field(description="The operation's OpenAI-shaped response body.")
    error: JobError | None
    usage: Usage | None
    cost_usd: str | None = Field(description="A decimal number.")
    route: dict[str, Any] | None = Field(description="Which deployment served it, and why.")
    cache: CacheState
    timing: Timing
    group_id: str | None
    schedule_id: str | None
    metadata: dict[str, str]
    result_omitted: Literal[True] | None = Field(
        None, description="There is a result, too large for this place; get the job by its id."
    )


class Counts(BaseModel):
    """Jobs by state."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int


class Group(_Answer):
    """Jobs that were submitted together."""

    id: str = Field(examples=["grp_01m7w18qbbetfb5kwf072qxb6c"])
    object: Literal["group"]
    status: Literal["running", "completed", "cancelled"]
    total: int
    counts: Counts
    created_at: datetime
    finished_at: datetime | None
    usage: Usage | None
    cost_usd: str | None = Field(description="The sum of the costs that are known; null when none is.")
    unpriced_jobs: int = Field(description="Jobs that were answered and whose cost nobody knows.")


class Attempt(_Answer):
    """One try at running a job."""

    object: Literal["attempt"]
    number: int
    deployment: str | None
    started_at: datetime
    ttft_ms: float | None = Field(description="Time to the first token.")
    finished_at: datetime | None
    outcome: Literal["succeeded", "failed", "retried", "cancelled", "lost", "handed_back"] | None
    error: JobError | None
    batch_size: int | None
    usage: Usage | None
    cost_usd: str | None


class UsageRow(_Answer):
    """What finished jobs used. The members that `group_by` names come first: day, key_id, model, endpoint, lane."""

    jobs: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    total_tokens: int
    saved_tokens: int = Field(description="By token thrift and caches, where jobs tell of it.")
    cost_usd: str | None = Field(description="Of the jobs with a known price; null when there are none.")
    unpriced_jobs: int = Field(description="Jobs that succeeded and whose price is not known.")


class UsageReport(_Answer):
    """What the tenant used, by UTC days of the jobs' ends."""

    object: Literal["usage"]
    from_: str = Field(alias="from", examples=["2026-11-01"])
    to: str = Field(examples=["2026-11-30"])
    group_by: list[Literal["day", "key", "model", "endpoint", "lane"]]
    data: list[UsageRow]
    total: UsageRow | None = Field(description="All rows together; null when there are none.")


class Percentiles(BaseModel):
    """Over the last 256 answers of each worker; of several workers the mean, weighted by their answers. Null before any."""

    p50: float | None
    p95: float | None
    p99: float | None


class Latency(BaseModel):
    """How long answers took, in milliseconds."""

    ttft_ms: Percentiles = Field(description="Time to the first token.")
    itl_ms: Percentiles = Field(description="Between two tokens.")
    total_ms: Percentiles = Field(description="The whole call.")


class Model(_Answer):
    """A model that jobs may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    endpoints: list[str]


class Deployment(_Answer):
    """An upstream that serves a model."""

    id: str
    object: Literal["deployment"]
    model: str
    provider: str
    region: str | None
    endpoints: list[str]
    max_concurrency: int
    workers: int = Field(description="Worker processes alive.")
    health: Literal["unknown", "ok", "failing"] = Field(
        description="`unknown` until a living worker has called it, `failing` when its last calls, three or more, all failed."
    )
    breaker: Literal["closed", "half_open", "open"] | None = Field(
        description="`open`: it is left alone for a while, `half_open`: a few calls probe it. Null until a worker knows it."
    )
    breaker_reason: str | None = Field(description="Why it is not closed.")
    in_flight: int = Field(description="Jobs under way there.")
    limit: int | None = Field(description="Calls at once of all workers, as adapted to what it bears.")
    allotted: int = Field(description="Calls at once that the workers may make now, all together.")
    calls: int = Field(description="Since the living workers started.")
    errors: int = Field(description="Of these, failures that speak against the deployment.")
    hedges: int = Field(description="Of these, second requests for calls that took long elsewhere.")
    cold_start_ms: float | None = Field(
        description="What a call takes to its first token, or in all, that has to open a connection; loading a local model."
    )
    latency: Latency
    tokens_per_s: Percentiles


class _Page(BaseModel):
    object: Literal["list"]
    has_more: bool
    first_id: str | None
    last_id: str | None


class JobPage(_Page):
    """Jobs, newest first. Go on with `?after=` the `last_id`."""

    data: list[Job]


class AttemptPage(_Page):
    """Attempts, oldest first."""

    data: list[Attempt]


class ModelPage(_Page):
    """All models."""

    data: list[Model]


class DeploymentPage(_Page):
    """All deployments."""

    data: list[Deployment]


class Home(BaseModel):
    """Where things are."""

    name: Literal["Coatcheck"]
    docs: str
    openapi: str


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Jobs are accepted; `degraded` names what is missing for them to run well."""

    status: Literal["ready", "degraded"]
    degraded: list[str] = Field(examples=[["redis", "lane:bulk"]])


class ProblemFault(BaseModel):
    """One thing that is wrong with the payload."""

    pointer: str = Field(
        description="A JSON pointer to it; for a query parameter its name behind a slash, such as `/limit`.",
        examples=["/body/model"],
    )
    detail: str
    line: int | None = Field(None, description="In bulk requests: the line, or the place in the array, counted from 1.")


class OpenAIError(BaseModel):
    """The same in the form that OpenAI's SDKs read."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    error: OpenAIError
    errors: list[ProblemFault] | None = None
    degraded: list[str] | None = Field(None, description="Of /readyz: what is broken.")


class _Event(BaseModel):
    id: str = Field(
        description="The same over all tries and redeliveries; sent as webhook-id too.", examples=["evt_01m7w1…"]
    )
    object: Literal["event"]
    created_at: int = Field(description="Seconds since 1970.")
    timestamp: datetime


class JobEnded(_Event):
    """A job reached its end."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
    data: Job


class GroupCompleted(_Event):
    """The last job of a group reached its end."""

    type: Literal["group.completed"]
    data: Group
