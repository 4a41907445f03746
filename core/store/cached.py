"""Jobs that end without a call of their own: answered from a cache before they queue, or with another job's result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import see_tenants, tenant_list
from core.direct import NotConnected
from core.store.accept import Accepted, NewJob, take_keys
from core.store.committer import ACCEPT_S, Committer
from core.store.endings import end
from core.store.failures import DATABASE_ERRORS, UnknownOutcome, commit, is_outage
from core.store.statements import fetch, statement
from core.tables import cache_hours
from policies.replay import replayed

#: Followers that end with their leader; the next of them finds the answer in the cache, and the rest ends with that one.
MOST_FOLLOWERS: Final = 2000


@dataclass(slots=True)
class Hit(NewJob):
    """A job that is answered already. ``result``, ``usage``, ``cache``, ``timing`` and ``deltas`` are JSON text.

    Attributes:
        deltas: an array of the data of its ``job.delta`` events, None where it does not stream.
        delta_count: how many.
    """

    result: str = "{}"
    usage: str | None = None
    cache: str = "{}"
    timing: str | None = None
    deltas: str | None = None
    delta_count: int = 0


_COLUMNS: Final = (
    "id", "tenant_id", "key_id", "endpoint", "model", "route_model", "route", "lane", "priority", "body", "stream", "metadata",
    "webhook", "cache_options", "group_id", "schedule_id", "max_attempts", "timeout_s", "ttl_s", "expires_at", "request_id",
    "traceparent", "result", "usage", "cache", "timing", "deltas", "delta_count",
)  # fmt: skip


class HitCommitter(Committer):
    """Commits hits together, as the committer commits jobs, and with the same promises.

    Args:
        engine: connections with the API's role.
        public_url: what absolute URLs in webhook payloads start with.
        work: told of ``webhooks`` when a commit made deliveries due.
        most: most hits in one commit.
        committers: commits under way at once.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        public_url: str,
        *,
        work: Callable[[str], None],
        most: int = 256,
        committers: int = 2,
    ) -> None:
        super().__init__(engine, most=most, committers=committers)
        self._public_url = public_url
        self._work = work
        # Stored by a first statement while a second one failed: they are not stored again when the batch is tried again in parts.
        self._stored: dict[UUID, Accepted] = {}

    async def _accept(self, jobs: list[NewJob]) -> dict[UUID, Accepted]:
        hits = sorted((job for job in jobs if isinstance(job, Hit)), key=lambda job: job.id)
        done = {hit.id: self._stored.pop(hit.id) for hit in hits if hit.id in self._stored}
        rest = [hit for hit in hits if hit.id not in done]
        done |= await self._accept_plain([hit for hit in rest if hit.idempotency_key is None])
        tied = [hit for hit in rest if hit.id not in done]
        if not tied:
            return done
        try:
            return done | await self._accept_tied(tied)
        except DATABASE_ERRORS as error:
            if done and is_outage(error):
                # Some are stored and some are not: the ids tell.
                raise UnknownOutcome from error
            self._stored |= done
            raise

    async def _accept_plain(self, hits: list[Hit]) -> dict[UUID, Accepted]:
        """Accept hits that have nothing more to them, in one statement; those that have are passed over."""
        if not hits:
            return {}
        try:
            rows = await fetch(self._engine, "cache_accept_hits", _columns(hits, plain=True), within_s=ACCEPT_S)
        except DATABASE_ERRORS as error:
            if is_outage(error) and not isinstance(error, NotConnected):
                raise UnknownOutcome from error
            raise
        return {row.id: Accepted(created_at=row.created_at) for row in rows}

    async def _accept_tied(self, hits: list[Hit]) -> dict[UUID, Accepted]:
        """Accept hits that have more to them: an idempotency key, a webhook, a group."""
        async with self._engine.connect() as connection:
            await see_tenants(connection, {hit.tenant_id for hit in hits})
            outcomes = await take_keys(connection, hits)
            fresh = [hit for hit in hits if hit.id not in outcomes]
            deliveries = 0
            if fresh:
                parameters = _columns(fresh, plain=False)
                rows = (await connection.execute(statement("cache_accept_hits"), parameters)).all()
                deliveries = (await end(connection, rows, self._public_url)).deliveries
                outcomes |= {row.id: Accepted(created_at=row.created_at) for row in rows}
            await commit(connection)
        if deliveries:
            self._work("webhooks")
        return outcomes


def _columns(hits: Sequence[Hit], *, plain: bool) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [getattr(hit, name) for hit in hits] for name in _COLUMNS}
    return columns | {"tenants": tenant_list(hit.tenant_id for hit in hits), "plain": plain}


async def share(connection: AsyncConnection, ended: Sequence[Row[Any]]) -> list[Row[Any]]:
    """End the jobs that wait for the same answers as jobs which have just succeeded in this transaction.

    Args:
        connection: the transaction.
        ended: rows of ``finish.sql``.

    Returns:
        The rows of those that ended, for `end` and `let_in`.
    """
    leaders = [row.id for row in ended if row.status == "succeeded" and row.concurrency_key is not None]
    if not leaders:
        return []
    followers = (await connection.execute(statement("cache_followers"), {"id": leaders, "most": MOST_FOLLOWERS})).all()
    if not followers:
        return []
    told = await _tell(connection, followers)
    parameters = {
        "id": [row.id for row in followers],
        "leader": [row.leader for row in followers],
        "deltas": [told[row.leader].deltas if row.stream else None for row in followers],
        "delta_count": [told[row.leader].count if row.stream else 0 for row in followers],
        "saved": [told[row.leader].saved for row in followers],
    }
    return list((await connection.execute(statement("cache_coalesce"), parameters)).all())


@dataclass(slots=True, frozen=True)
class _Told:
    saved: str
    deltas: str | None
    count: int


async def _tell(connection: AsyncConnection, followers: Sequence[Row[Any]]) -> dict[UUID, _Told]:
    """Return what the followers of each leader are told: what they were spared, and the stream for those that stream."""
    streaming = {row.leader for row in followers if row.stream}
    leaders = sorted({row.leader for row in followers})
    rows = (await connection.execute(statement("read_jobs"), {"id": leaders})).mappings()
    told = {}
    for row in rows:
        deltas = replayed(row["endpoint"], orjson.loads(row["result"])) if row["id"] in streaming else []
        told[row["id"]] = _Told(
            orjson.dumps(_saved(row)).decode(), orjson.dumps(deltas).decode() if deltas else None, len(deltas)
        )
    return told


def _saved(leader: Mapping[Any, Any]) -> Mapping[str, Any]:
    spared: Mapping[str, Any] | None = orjson.loads(leader["cache"] or "{}").get("saved")
    if spared is not None:
        # It was answered from the cache itself, at no cost: its followers are spared what it was spared.
        return spared
    usage = orjson.loads(leader["usage"] or "{}")
    timing = orjson.loads(leader["timing"] or "{}")
    cost = leader["cost_usd"]
    return {
        "tokens": int(usage.get("total_tokens") or 0),
        "usd": None if cost is None else format(cost, "f"),
        "ms": round(float(timing.get("upstream_ms") or 0.0), 1),
    }


async def read_stats(
    engine: AsyncEngine, tenant: UUID, first: datetime, last: datetime, *, by_hour: bool = True
) -> list[dict[str, Any]]:
    """Return what caches did for a tenant's jobs in the hours from `first` up to `last`, by hour, endpoint and model.

    Args:
        engine: connections of the API.
        tenant: whose.
        first: the earliest hour's beginning.
        last: hours that begin here or later are left out.
        by_hour: whether hours stand apart.
    """
    table = cache_hours.c
    by = [*([table.hour] if by_hour else []), table.endpoint, table.model]
    tallies = [func.sum(table[name]).label(name) for name in STATS]
    query = (
        select(*by, *tallies)
        .where(table.tenant_id == tenant, table.hour >= first, table.hour < last)
        .group_by(*by)
        .order_by(*by)
    )
    async with engine.connect() as connection:
        await see_tenants(connection, [tenant])
        return [dict(row) for row in (await connection.execute(query)).mappings()]


STATS: Final = (
    "hits", "semantic_hits", "misses", "coalesced", "refreshed", "unpriced", "saved_tokens", "saved_usd", "saved_ms",
)  # fmt: skip
