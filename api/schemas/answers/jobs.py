"""Jobs, their groups and their attempts."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.answers.shapes import Answer, Page
from api.schemas.job_request import Endpoint
from core.lifecycle import Status


class JobError(Answer):
    """Why a job failed."""

    code: str = Field(description="Stable; `upstream_error`, `timeout`, `worker_lost`, `attempts_exhausted`, …")
    message: str
    retryable: bool | None = None
    upstream_status: int | None = None


class Usage(Answer):
    """Tokens as the upstream counted them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    total_tokens: int | None = None
    saved_tokens: int | None = Field(None, description="Input tokens spared by thrift; only where it is on.")


class Saved(Answer):
    """What a job was spared that was answered from the cache, or with another job's call."""

    tokens: int
    usd: str | None = Field(description="Null when the price is not known.")
    ms: float


class CacheState(Answer):
    """What caches did for the job."""

    status: Literal["miss", "hit", "semantic_hit", "coalesced", "refreshed", "bypass"]
    similarity: float | None = None
    age_s: float | None = None
    saved: Saved | None = None
    kept: bool | None = Field(None, description="False where the answer was to be kept and is not; else left out.")


class Timing(Answer):
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


class Job(Answer):
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


class Group(Answer):
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


class Attempt(Answer):
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


class JobPage(Page):
    """Jobs, newest first. Go on with `?after=` the `last_id`."""

    data: list[Job]


class AttemptPage(Page):
    """Attempts, oldest first."""

    data: list[Attempt]
