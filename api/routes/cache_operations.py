"""The operations on caches as `/openapi.json` tells of them."""

from functools import partial
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from api.reference.pieces import TIME, add_operation, query, ref
from api.routes import cache, cache_shadow


class CacheTallies(BaseModel):
    """What caches did. Followers that ended with another job's answer are `coalesced`."""

    hits: int = Field(description="Answered with the answer to the same request.")
    semantic_hits: int = Field(description="Answered with the answer to a request that means the same.")
    misses: int
    coalesced: int
    refreshed: int = Field(description="Asked anew because the job wanted it so.")
    saved_tokens: int = Field(description="Where the upstream had told them.")
    saved_usd: str | None = Field(
        description="At least so much: jobs counted as unpriced may have saved more. Null when nothing is known of any of them."
    )
    unpriced: int = Field(description="Jobs that were spared a call whose price is not known.")
    saved_s: float = Field(
        description="What upstreams took for the same answers, in seconds; those of batches count nothing."
    )


class CacheHour(CacheTallies):
    """One hour, endpoint and model."""

    hour: str = Field(examples=["2026-11-20T08:00:00.000Z"])
    endpoint: str
    model: str


class SemanticCache(BaseModel):
    """Whether near questions can share answers here."""

    available: bool
    reason: str | None = Field(description="Why not.")
    embedder: str = Field(
        description="Who makes the vectors: `wordllama`, inside each process, or a model of the catalog."
    )
    entries: int | None = Field(description="Questions that near ones are looked for among.")


class CacheStats(BaseModel):
    """What caches did for the tenant's jobs, by UTC hours of their ends."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["cache_stats"]
    from_: str = Field(alias="from")
    to: str
    entries: int | None = Field(description="How many answers are kept now; null while Redis is away.")
    bytes: int | None = Field(description="What they weigh.")
    semantic: SemanticCache
    data: list[CacheHour]
    total: CacheTallies


class ShadowBucket(BaseModel):
    """Pairs of a question and the nearest one before it, by the cosine of both."""

    model_config = ConfigDict(populate_by_name=True)

    from_: float = Field(alias="from")
    to: float
    pairs: int = Field(description="Those that the guard lets pass: would-be hits.")
    same: int = Field(description="Whose answers are equal.")
    agreeing: int = Field(description="Whose answers are equal, or have a cosine of 0.9 or more.")
    agreement: float | None
    mean_answer_cosine: float | None
    refused_by_guard: int
    refused_agreeing: int = Field(description="Refused, although the answers agree.")


class ShadowThreshold(BaseModel):
    """What would have been served with this threshold."""

    threshold: float
    served: int
    agreeing: int
    agreement: float | None


class ShadowModel(BaseModel):
    """What shadow mode saw of one model's jobs."""

    model: str
    embedder: str
    threshold: float = Field(description="What holds now for jobs that name none.")
    would_be_hits: int
    refused_by_guard: int
    buckets: list[ShadowBucket]
    thresholds: list[ShadowThreshold]
    refusals: dict[str, int] = Field(description="How often the guard refused, by its reason.")


class ShadowPair(BaseModel):
    """A would-be hit whose answers differ."""

    model: str
    similarity: float
    kept_question: str
    question: str
    answer_cosine: float | None
    at: str


class CacheShadow(BaseModel):
    """What shadow mode saw of the tenant's jobs."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["cache_shadow"]
    from_: str = Field(alias="from")
    to: str
    data: list[ShadowModel]
    doubtful: list[ShadowPair] = Field(description="Would-be hits that agree least, the worst first; at most ten.")


class CacheInvalidation(BaseModel):
    """How many answers went."""

    object: Literal["cache_invalidation"]
    invalidated: int


def add_cache_routes(app: FastAPI) -> None:
    """Add them to the application."""
    add = partial(add_operation, app, tag="Cache")
    period = [query("from", TIME, "A day before `to` unless given."), query("to", TIME, "Now unless given.")]
    add(
        "GET", "/v1/cache/stats", cache.get_cache_stats, CacheStats, "What caches did.", summary="What caches did",
        parameters=period, problems=(422,),
    )  # fmt: skip
    add(
        "GET", "/v1/cache/shadow", cache_shadow.get_cache_shadow, CacheShadow, "What shadow mode recorded.",
        summary="What near answers would have been worth", parameters=period, problems=(422,),
    )  # fmt: skip
    example = {"model": "local/keypoints", "metadata": {"category": "tents"}}
    body = {
        "required": False,
        "content": {"application/json": {"schema": ref(cache.Invalidation), "example": example}},
    }
    add(
        "POST", "/v1/cache/invalidate", cache.invalidate_cache, CacheInvalidation, "Let kept answers go.",
        summary="Let kept answers go", body=body,
    )  # fmt: skip
