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


class CacheState(_Answer):
    """What caches did for the job."""

    status: Literal["miss", "hit", "semantic_hit", "coalesced", "refreshed", "bypass"]
    similarity: float | None = None
    age_s: float | None = None


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
    timing: dict[str, Any] | None = Field(description="Where the time went, in milliseconds.")
    group_id: str | None
    schedule_id: str | None
    metadata: dict[str, str]
    result_omitted: Literal[True] | None = Field(
        None, description="There is a result, too large for this place; get the job by its id."
    )


class Group(_Answer):
    """Jobs that were submitted together."""

    id: str = Field(examples=["grp_01m7w18qbbetfb5kwf072qxb6c"])
    object: Literal["group"]
    status: Literal["running", "completed", "cancelled"]
    total: int
    counts: dict[str, int] = Field(description="Jobs by state; states without jobs are left out.")
    created_at: datetime
    finished_at: datetime | None
    usage: Usage | None
    cost_usd: str | None


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
    in_flight: int


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


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Jobs are accepted; `degraded` names what is missing for them to run well."""

    status: Literal["ready", "degraded"]
    degraded: list[str] = Field(examples=[["redis", "lane:bulk"]])


class ProblemFault(BaseModel):
    """One thing that is wrong with the payload."""

    pointer: str = Field(description="A JSON pointer to it.", examples=["/body/model"])
    detail: str
    line: int | None = Field(None, description="In bulk requests: the line, counted from 1.")


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
