"""The operations on caches as `/openapi.json` tells of them."""

from typing import Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from api.routes import cache

_MOMENT: Final = {"type": "string", "format": "date-time"}


class CacheTallies(BaseModel):
    """What caches did. Followers that ended with another job's answer are `coalesced`."""

    hits: int
    misses: int
    coalesced: int
    refreshed: int = Field(description="Asked anew because the job wanted it so.")
    saved_tokens: int
    saved_usd: str = Field(description="Where the price is known.")
    saved_s: float = Field(description="What upstreams would have taken, in seconds.")


class CacheHour(CacheTallies):
    """One hour, endpoint and model."""

    hour: str = Field(examples=["2026-11-20T08:00:00.000Z"])
    endpoint: str
    model: str


class CacheStats(BaseModel):
    """What caches did for the tenant's jobs, by UTC hours of their ends."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["cache_stats"]
    from_: str = Field(alias="from")
    to: str
    entries: int | None = Field(description="How many answers are kept now; null while Redis is away.")
    bytes: int | None = Field(description="What they weigh.")
    data: list[CacheHour]
    total: CacheTallies


class CacheInvalidation(BaseModel):
    """How many answers went."""

    object: Literal["cache_invalidation"]
    invalidated: int


def add_cache_routes(app: FastAPI) -> None:
    """Add both to the application."""
    parameters = [
        {
            "name": "from",
            "in": "query",
            "required": False,
            "schema": _MOMENT,
            "description": "A day before `to` unless given.",
        },
        {"name": "to", "in": "query", "required": False, "schema": _MOMENT, "description": "Now unless given."},
    ]
    _add(
        app,
        "GET",
        "/v1/cache/stats",
        cache.get_cache_stats,
        CacheStats,
        "What caches did",
        {"parameters": parameters},
        (422,),
    )
    schema = {"$ref": f"#/components/schemas/{cache.Invalidation.__name__}"}
    example = {"model": "local/keypoints", "metadata": {"category": "tents"}}
    body = {"required": False, "content": {"application/json": {"schema": schema, "example": example}}}
    _add(
        app, "POST", "/v1/cache/invalidate", cache.invalidate_cache, CacheInvalidation, "Let kept answers go",
        {"requestBody": body}, (),
    )  # fmt: skip


def _add(
    app: FastAPI,
    method: str,
    path: str,
    handler: Any,
    answer: type[BaseModel],
    summary: str,
    extra: dict[str, Any],
    problems: tuple[int, ...],
) -> None:
    shown: dict[str, Any] = {"description": summary + ".", "model": answer}
    app.add_api_route(
        path,
        handler,
        methods=[method],
        summary=summary,
        tags=["Cache"],
        # What a problem looks like is filled in where the document is finished.
        responses={200: shown, **{problem: {"description": "Problem."} for problem in problems}},
        openapi_extra=extra,
    )
