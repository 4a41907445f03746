"""Models, and the deployments behind them."""

from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.answers.shapes import Answer, Page


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


class Model(Answer):
    """A model that jobs may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    endpoints: list[str]


class Deployment(Answer):
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


class ModelPage(Page):
    """All models."""

    data: list[Model]


class DeploymentPage(Page):
    """All deployments."""

    data: list[Deployment]
