"""A job's end, made of an entry."""

from dataclasses import fields
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from core.cache.entries import Entry
from core.render import TIMING
from core.store.accept import NewJob
from core.store.cached import Hit
from core.store.work import Finish
from policies.replay import replayed

_REASON: Final = "answered from the cache"
# Its place in the queue it does not need, and its route is told below.
_OF_JOB: Final = tuple(
    each.name for each in fields(NewJob) if each.name not in ("route", "concurrency_key", "concurrency_limit")
)
_USAGE: Final = ("input_tokens", "output_tokens", "cached_tokens", "total_tokens")


def hit_of(job: NewJob, entry: Entry, took_ms: float, similarity: float | None = None) -> Hit:
    """Return a job that ends as soon as it is stored.

    Args:
        job: as it would be stored without the hit.
        entry: what answers it.
        took_ms: milliseconds since the request came in.
        similarity: cosine to the question that the entry answers, where that is another one.
    """
    deltas = replayed(job.endpoint, orjson.loads(entry.result)) if job.stream else []
    route = {**(orjson.loads(job.route) if job.route else {}), **_route(entry)}
    return Hit(
        **{name: getattr(job, name) for name in _OF_JOB},
        result=entry.result,
        usage=_usage(entry),
        cache=_cache(entry, similarity),
        route=_text(route),
        timing=_timing(0.0, took_ms),
        deltas=_text(deltas) if deltas else None,
        delta_count=len(deltas),
    )


def finish_of(
    entry: Entry,
    job: UUID,
    lease_no: int,
    last_seq: int,
    *,
    queued_ms: float,
    running_ms: float,
    similarity: float | None = None,
) -> Finish:
    """Return the end of a running job that is answered from an entry; its deltas, if it streams, are told before."""
    return Finish(
        job, lease_no, "succeeded", last_seq, result=entry.result, usage=_usage(entry), cost_usd=Decimal(0),
        cache=_cache(entry, similarity), route=_text(_route(entry)), timing=_timing(queued_ms, running_ms),
    )  # fmt: skip


def _cache(entry: Entry, similarity: float | None) -> str:
    near: dict[str, Any] = {"status": "hit", "similarity": None}
    if similarity is not None:
        near = {"status": "semantic_hit", "similarity": round(similarity, 4)}
    return _text({**near, "age_s": round(entry.age_s, 3), "saved": entry.saved})


def _route(entry: Entry) -> dict[str, Any]:
    return {**(entry.route or {}), "reason": _REASON, "fallbacks": []}


def _usage(entry: Entry) -> str | None:
    return None if entry.usage is None else _text({name: entry.usage.get(name) for name in _USAGE})


def _timing(queued_ms: float, took_ms: float) -> str:
    total = round(queued_ms + took_ms, 3)
    return _text({**dict.fromkeys(TIMING), "queued_ms": round(queued_ms, 3), "overhead_ms": total, "total_ms": total})


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
