"""GET /v1/cache/stats and POST /v1/cache/invalidate: what caches did, and letting answers go."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.answers import Answer, json_answer
from api.auth import ADMIN
from api.problems import invalid_fields, invalid_query, unavailable
from api.routing import Call, needs
from api.schemas.job_request import Metadata, moment
from api.schemas.wording import faults_of
from core import ids
from core.announce import REDIS_ERRORS
from core.cache import About
from core.render import moment as told
from core.store.cached import STATS, read_stats
from core.store.semantic import count_vectors, forget_tenant
from policies.costs import as_text

_MOST: Final = timedelta(days=31)
# Ids and hours begin with Unix time; the period before `to` has to lie within it.
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC) + _MOST


class Invalidation(BaseModel):
    """Which answers go: those that fit all that is given. Nothing given means all."""

    model_config = ConfigDict(strict=True, extra="forbid")

    endpoint: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=255, description="As the jobs asked for it.")] | None = None
    schedule_id: str | None = None
    metadata: Metadata | None = Field(None, description="Pairs that the job had whose answer was kept.")

    @property
    def everything(self) -> bool:
        """Whether no answer of the tenant stays."""
        return self.endpoint is None and self.model is None and self.schedule_id is None and not self.metadata

    def fits(self, about: About) -> bool:
        """Tell whether the answer of such a job goes."""
        pairs = about.metadata or {}
        return (
            self.endpoint in (None, about.endpoint)
            and self.model in (None, about.model)
            and self.schedule_id in (None, about.schedule_id)
            and all(pairs.get(name) == value for name, value in (self.metadata or {}).items())
        )


@needs(ADMIN)
async def get_cache_stats(call: Call) -> Answer:
    """Return what caches did, by hour, endpoint and model, and in all; hours are UTC hours of the jobs' ends."""
    first, last = period(call)
    first = first.replace(minute=0, second=0, microsecond=0)
    tenant = call.key.tenant_id
    rows = await read_stats(call.services.engine, tenant, first, last)
    size = await call.services.cache.size(tenant)
    answer = {
        "object": "cache_stats",
        "from": told(first),
        "to": told(last),
        "entries": None if size is None else size[0],
        "bytes": None if size is None else size[1],
        "semantic": await _semantic(call),
        "data": [_row(row) for row in rows],
        "total": _tallies(_summed(rows)),
    }
    return json_answer(answer, headers=[(b"cache-control", b"no-store")])


def period(call: Call) -> tuple[datetime, datetime]:
    """Return what the query's `from` and `to` say: the day until now unless they are given.

    Raises:
        Problem: 422 for no moments, too many days, or days of long ago.
    """
    query = call.query("from", "to")
    last = _moment(query, "to") or datetime.now(UTC)
    if last < _EARLIEST:
        raise invalid_query("to", f"Nothing was counted before {_EARLIEST:%Y-%m-%d}.")
    first = _moment(query, "from") or last - timedelta(days=1)
    if first > last:
        raise invalid_query("from", "from is not after to.")
    if last - first > _MOST:
        raise invalid_query("from", f"At most {_MOST.days} days can be asked for at once.")
    return first, last


async def _semantic(call: Call) -> dict[str, Any]:
    services = call.services
    reason = await services.semantic.why_off()
    return {
        "available": reason is None,
        "reason": reason,
        "embedder": services.catalog.embedder or services.embedder.name,
        "entries": None if reason else await count_vectors(services.engine, call.key.tenant_id),
    }


@needs(ADMIN)
async def invalidate_cache(call: Call) -> Answer:
    """Let answers go; those that are on their way and were asked for before are not kept either."""
    try:
        asked = Invalidation.model_validate(await call.optional_json())
    except ValidationError as error:
        raise invalid_fields(faults_of(error)) from None
    if asked.schedule_id is not None:
        asked.schedule_id = _schedule(asked.schedule_id)
    try:
        gone = await call.services.cache.invalidate(call.key.tenant_id, asked.fits)
        if asked.everything:
            await forget_tenant(call.services.engine, call.key.tenant_id)
    except REDIS_ERRORS:
        raise unavailable("The cache cannot be reached, so nothing can be promised of it.") from None
    return json_answer({"object": "cache_invalidation", "invalidated": gone})


def _schedule(text: str) -> str:
    try:
        return ids.decode(ids.SCHEDULE, text).hex
    except ids.InvalidId:
        return text  # no schedule, so no answer of one fits


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    try:
        found = moment(query[name])
    except ValueError:
        found = None
    if not isinstance(found, datetime):
        raise invalid_query(name, f"{name} is a moment such as 2026-11-20T08:00:00Z.")
    return found


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"hour": told(row["hour"]), "endpoint": row["endpoint"], "model": row["model"], **_tallies(row)}


def _summed(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: sum((row[name] for row in rows), start=Decimal(0)) for name in STATS if name != "saved_ms"} | {
        "saved_ms": sum(row["saved_ms"] for row in rows)
    }


def _tallies(row: Mapping[str, Any]) -> dict[str, Any]:
    spared = row["hits"] + row["semantic_hits"] + row["coalesced"]
    return {
        "hits": int(row["hits"]),
        "semantic_hits": int(row["semantic_hits"]),
        "misses": int(row["misses"]),
        "coalesced": int(row["coalesced"]),
        "refreshed": int(row["refreshed"]),
        "saved_tokens": int(row["saved_tokens"]),
        # At least that much: `unpriced` jobs were spared calls whose price nobody knows.
        "saved_usd": as_text(row["saved_usd"]) if not spared or row["unpriced"] < spared else None,
        "unpriced": int(row["unpriced"]),
        "saved_s": round(row["saved_ms"] / 1000, 3),
    }
