"""What a learned run warms: chosen from what the tenant asked for in the last weeks, and written down before any job is made."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.cron import zone
from core.store.asks import Asked, TooManyAsks, read_asks, read_requests, store_choice
from core.store.schedule_runs import Run
from policies import forecast
from policies.cache_keys import VERSION
from policies.catalog import Catalog
from policies.forecast import Choice
from policies.schedules import MOST_JOBS
from workers.schedules.expansion import Learned, Plan
from workers.schedules.freshness import Freshness
from workers.schedules.outlook import Outlook, Weighed

#: So many choices of a run are told of, the most valuable ones.
SHOWN: Final = 100
# So many entries at a time: they are weighed beside live jobs, which want the interpreter too.
_SLICE: Final = 100
_BREATH_S: Final = 0.01
_KEY_SHOWN: Final = 12


class Learner:
    """Chooses for learned runs.

    Args:
        engine: connections with the worker's role.
        catalog: returns the catalog in force.
        freshness: knows what the cache holds.
        public_url: what absolute URLs in webhook payloads start with.
        now: the time, in UTC.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Callable[[], Catalog],
        freshness: Freshness,
        public_url: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._freshness = freshness
        self._public_url = public_url
        self._now = now

    async def choose(self, run: Run, plan: Plan, learned: Learned) -> tuple[Run | None, int]:
        """Choose, and write it down.

        Returns:
            The run with its choice, None when there is nothing more to do: nothing was worth it, or somebody else was faster. And
            how many webhook deliveries are due.
        """
        try:
            worth = await self._worth(run, plan, learned)
        except TooManyAsks:
            return await self._store(run, (), [], "too_many_asks")
        taken, reason = _affordable(worth, plan)
        return await self._store(run, taken, worth, reason)

    async def refuse(self, run: Run) -> int:
        """End a run that can't choose; returns how many deliveries are due."""
        return (await self._store(run, (), [], "refused"))[1]

    async def requests(self, run: Run, chosen: Sequence[Any]) -> list[dict[str, Any] | None]:
        """Return the requests of what was chosen, maybe not of all; None for one whose job was deleted since then."""
        found = await read_requests(self._engine, run.tenant_id, [each.job_id for each in chosen])
        return [
            None if request is None else {"endpoint": request.endpoint, "body": orjson.loads(request.body)}
            for request in found
        ]

    async def _worth(self, run: Run, plan: Plan, learned: Learned) -> list[Weighed]:
        outlook = Outlook(
            self._now(), zone(learned.timezone), learned.next_run_at, self._catalog(), plan.ttl_s, self._freshness.ttl_s
        )
        asks = await read_asks(
            self._engine, run.tenant_id, outlook.watched(), endpoint=plan.template.get("endpoint"),
            model=(plan.template.get("body") or {}).get("model"), version=VERSION,
        )  # fmt: skip
        found: list[Weighed] = []
        for start in range(0, len(asks.entries), _SLICE):
            some = asks.entries[start : start + _SLICE]
            left = await self._freshness.left_s(run.tenant_id, [each.key for each in some])
            stale = [(each, seconds) for each, seconds in zip(some, left, strict=True) if seconds <= plan.fresh_for_s]
            found += await asyncio.to_thread(outlook.weigh, stale, asks.since)
            await asyncio.sleep(_BREATH_S)
        return found

    async def _store(
        self, run: Run, taken: Sequence[Weighed], worth: Sequence[Weighed], reason: str | None
    ) -> tuple[Run | None, int]:
        told: dict[str, Any] = orjson.loads(run.plan or "{}")
        told["chosen"] = [_remembered(*each) for each in taken]
        text = orjson.dumps(told).decode()
        deliveries = await store_choice(
            self._engine, run.id, self._public_url, planned=len(taken), over_budget=len(worth) - len(taken), plan=text,
            choices=orjson.dumps([_shown(*each) for each in taken[:SHOWN]]).decode(), reason=reason,
        )  # fmt: skip
        if deliveries is None or not taken:
            return None, deliveries or 0
        return replace(run, planned=len(taken), plan=text), deliveries


def _affordable(worth: Sequence[Weighed], plan: Plan) -> tuple[list[Weighed], str | None]:
    """Return what the budget has room for, most valuable first, and which limit left something out; or why nothing is."""
    limits = plan.budget
    cost = None if limits.max_cost_usd is None else Decimal(str(limits.max_cost_usd))
    budget = forecast.Budget(min(limits.max_jobs or MOST_JOBS, MOST_JOBS), limits.max_tokens, cost)
    asked = {choice.entry.name: each for each, choice in worth}
    taken = [(asked[choice.entry.name], choice) for choice in forecast.within((each[1] for each in worth), budget)]
    if len(taken) == len(worth):
        return taken, None if worth else "nothing_likely"
    if len(taken) == budget.max_jobs:
        return taken, "max_jobs"
    if cost is None:
        return taken, "max_tokens"
    kept = {choice.entry.name for _, choice in taken}
    first = max((choice for _, choice in worth if choice.entry.name not in kept), key=lambda choice: choice.value)
    used = sum(choice.entry.tokens for _, choice in taken)
    too_long = budget.max_tokens is not None and used + first.entry.tokens > budget.max_tokens
    return taken, "max_tokens" if too_long else "max_cost_usd"


def _remembered(asked: Asked, choice: Choice) -> list[Any]:
    usd = choice.entry.cost_usd
    return [asked.job_id.hex, asked.tokens, None if usd is None else str(usd)]


def _shown(asked: Asked, choice: Choice) -> dict[str, Any]:
    usd = choice.entry.cost_usd
    return {
        "job_id": ids.encode(ids.JOB, asked.job_id),
        "key": asked.key.hex()[:_KEY_SHOWN],
        "endpoint": asked.endpoint,
        "model": asked.model,
        "probability": round(choice.probability, 3),
        "expected_saved_ms": round(asked.ms * choice.probability, 1),
        "cost_usd": None if usd is None else format(usd, "f"),
        "reason": choice.reason,
    }
