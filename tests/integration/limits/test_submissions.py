"""What `api.limits` lets in, with a real Redis and a real Postgres behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.edge.head import Head
from api.limits import place, places
from api.problems import Problem
from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.limits import Accounts
from core.store.accept import NewJob
from core.store.keys import ApiKey
from core.store.standing import read_bases
from policies.catalog import Catalog, Deployment, Price
from policies.limits import Limits
from tests.support.store import Store, new_job

PRICE = Price(Decimal(1), Decimal(2))
CATALOG = Catalog((Deployment("d", "sim/fast", "openai", upstream_model="gpt-4o", price=PRICE),))
BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1000}

Submit = Callable[..., Any]


class Desk:
    """Submits jobs of one key."""

    def __init__(self, ledger: Accounts, store: Store, key: ApiKey) -> None:
        self.ledger, self.store, self.key = ledger, store, key
        self.head = Head({})

    async def submit(self, lane: str = "interactive", *, fail: bool = False) -> UUID:
        job = new_job(self.key.tenant_id, lane=lane, key_id=self.key.id)
        async with place(self.ledger, CATALOG, self.key, self.head, job, BODY) as room:
            if fail:
                raise ConnectionError
            await self.store.accept(job)
            room.keep()
        return job.id

    async def refusal(self, lane: str = "interactive") -> Problem:
        with pytest.raises(Problem) as caught:
            await self.submit(lane)
        return caught.value

    def told(self, name: str) -> str:
        return dict(self.head.tags)[b"x-ratelimit-" + name.encode()].decode()


@pytest.fixture
async def desk(redis: EmbeddedRedis, store: Store, api_engine: AsyncEngine) -> AsyncIterator[Callable[..., Desk]]:
    client = open_redis(redis.url, 1.0)
    ledger = Accounts(client, partial(read_bases, api_engine))

    def open_desk(limits: Limits, of_tenant: Limits | None = None) -> Desk:
        return Desk(ledger, store, ApiKey(uuid4(), uuid4(), frozenset(), None, limits, of_tenant or Limits()))

    yield open_desk
    await client.aclose()


async def test_an_unlimited_key_costs_nothing(desk: Callable[..., Desk], redis: EmbeddedRedis) -> None:
    free = desk(Limits(requests_per_minute=5))
    await free.submit()
    assert free.head.tags == []


async def test_an_interactive_job_without_tokens_left_is_refused_and_told_when_to_come_back(
    desk: Callable[..., Desk],
) -> None:
    limited = desk(Limits(tokens_per_minute=2500))
    await limited.submit()
    await limited.submit()
    assert limited.told("limit-tokens") == "2500" and 400 < int(limited.told("remaining-tokens")) < 500
    refused = await limited.refusal()
    assert (refused.code, refused.kind.status) == ("rate_limited", 429)
    headers = dict(refused.head())
    assert 55 < int(headers[b"retry-after"]) <= 62 and int(headers[b"retry-after-ms"]) > 55_000
    assert limited.told("reset-tokens").endswith("s") and limited.told("limit-requests")
    # Other lanes wait in the queue for their tokens.
    await limited.submit("default")
    await limited.submit("bulk")


async def test_a_submission_that_fails_gives_everything_back(desk: Callable[..., Desk]) -> None:
    limited = desk(Limits(tokens_per_minute=1500, max_queued=1))
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await limited.submit(fail=True)
    await limited.submit()


@pytest.mark.parametrize("lane", ["interactive", "default", "bulk"])
async def test_the_queue_is_limited_in_every_lane_under_64_clients(desk: Callable[..., Desk], lane: str) -> None:
    limited = desk(Limits(max_queued=7))
    outcomes = await asyncio.gather(*(limited.submit(lane) for _ in range(64)), return_exceptions=True)
    assert sum(isinstance(outcome, UUID) for outcome in outcomes) == 7
    refused = await limited.refusal(lane)
    assert refused.code == "too_many_jobs" and refused.retry_after_s == 1


async def test_a_started_job_makes_room_in_the_queue_and_takes_a_place_in_flight(
    desk: Callable[..., Desk], store: Store
) -> None:
    limited = desk(Limits(max_queued=1, max_in_flight=2))
    await limited.submit()
    worker = await store.process()
    first = await worker.claim(lane="interactive")
    await _eventually(limited.submit)
    await worker.claim(lane="interactive")
    # Two run now, and nobody waits.
    assert (await _eventually(limited.submit, until="in flight")).detail == "This key may have 2 jobs in flight."
    await _eventually(limited.submit, "default")
    assert (await _eventually(limited.submit, "bulk", until="queued")).detail == "This key may have 1 job queued."
    await worker.succeed(*first)


async def _eventually(submit: Callable[..., Any], *arguments: Any, until: str = "") -> Problem:
    """Submit until it is accepted or refused for what is named: looking into Postgres has to cool down between refusals."""
    async with asyncio.timeout(10):
        while True:
            try:
                await submit(*arguments)
            except Problem as problem:
                if until and until in problem.detail:
                    return problem
            else:
                return Problem("rate_limited", "accepted")


async def test_a_spent_budget_refuses_every_lane(desk: Callable[..., Desk], store: Store) -> None:
    limited = desk(Limits(budget_day_usd=Decimal("0.01")), Limits(budget_month_usd=Decimal(1)))
    for _ in range(4):
        await limited.submit()  # each may cost 0.002 for its answer, and its input
    assert (await limited.refusal()).code == "budget_spent"
    await limited.submit("bulk")
    spent = desk(Limits(), Limits(budget_month_usd=Decimal("0.5")))
    await store.sql(
        "INSERT INTO usage_days (tenant_id, day, model, endpoint, lane, cost_usd, jobs) VALUES "
        "(:tenant, (now() at time zone 'utc')::date, 'm', 'e', 'bulk', 1, 1)",
        tenant=spent.key.tenant_id,
    )
    refused = await spent.refusal("bulk")
    assert refused.detail.startswith("This tenant may spend 0.5 USD a month")
    assert refused.retry_after_s is not None and refused.retry_after_s > 1


async def test_many_jobs_need_room_for_all_of_them(desk: Callable[..., Desk], store: Store) -> None:
    limited = desk(Limits(max_queued=5))
    jobs: list[NewJob] = [new_job(limited.key.tenant_id, lane="bulk", key_id=limited.key.id) for _ in range(4)]

    async def submit(wish: str) -> None:
        async with places(limited.ledger, limited.key, limited.head, wish, jobs) as room:
            await store.accept(*jobs)
            room.keep()

    await submit("a")
    with pytest.raises(Problem) as caught:
        await submit("b")
    assert caught.value.code == "too_many_jobs"
