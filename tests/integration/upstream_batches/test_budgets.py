"""Budgets and jobs in upstream batches: money is set aside before a job goes upstream, and settled when its answer is stored."""

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.cache import Cache
from core.limits import Accounts, Gate, expected
from core.secrets import SecretBox, new_secret_key
from core.settings import CacheSettings
from core.store.accept import NewJob
from core.store.keys import create_key
from core.store.standing import read_bases, read_limits
from core.store.work import let_in_due
from policies.limits import Kind, Limits
from tests.integration.upstream_batches.conftest import MODEL, World
from tests.support.store import CHAT, chat_body, new_job
from tests.support.waiting import eventually
from workers.engine.admission import Admission
from workers.engine.batched import BatchDoors
from workers.engine.caching import Caching
from workers.upstream_batches import UpstreamBatches

Running = Callable[..., UpstreamBatches]
BODY = chat_body(MODEL, max_tokens=1000, sim={"tokens": 20})


@pytest.fixture
async def client(redis: EmbeddedRedis) -> AsyncIterator["Redis"]:
    client = open_redis(redis.url, 2.0)
    yield client
    await client.aclose()


def admission(world: World, client: "Redis") -> Admission:
    """Admission as one process knows it."""
    accounts = Accounts(client, partial(read_bases, world.store.worker))
    return Admission(Gate(accounts, partial(read_limits, world.store.worker)), lambda: world.catalog)


@pytest.fixture
def doors(world: World, client: "Redis") -> Callable[[], BatchDoors]:
    """The doors of a process that has just started."""

    def made() -> BatchDoors:
        caching = Caching(Cache(client, CacheSettings(wait_s=2.0)))
        return BatchDoors(caching, admission(world, client), world.announcer)

    world.doors = made()
    return made


def most(world: World) -> Decimal:
    """The most that a job can cost in a batch."""
    _, cost = expected(world.catalog, MODEL, CHAT, orjson.loads(BODY))
    assert cost is not None
    return cost / 2


async def limited(world: World, owner: AsyncEngine, **limits: Decimal | int) -> Callable[[], NewJob]:
    """Makes bulk jobs of a key with such limits."""
    key = await create_key(owner, SecretBox.from_setting(new_secret_key()), "acme", limits=Limits(**limits))  # type: ignore[arg-type]
    tenant = await world.store.value("SELECT id FROM tenants WHERE name = 'acme'")
    return lambda: new_job(tenant, model=MODEL, lane="bulk", key_id=key.id, body=BODY)


async def set_aside(client: "Redis", kind: Kind) -> int:
    """What is set aside and not settled on the accounts of a kind, in billionths of a USD."""
    total = 0
    async for name in client.scan_iter(f"coatcheck:limit:{kind}:*:o"):
        wishes: list[Any] = await client.zrange(name, 0, -1)
        total += sum([int(await client.hget(name.removesuffix(b":o"), b"a:" + wish) or 0) for wish in wishes])
    return total


@pytest.mark.parametrize("budget", ["budget_day_usd", "budget_month_usd"])
async def test_only_what_a_budget_has_room_for_goes_upstream_and_no_attempt_is_burnt(
    world: World, owner: AsyncEngine, doors: Callable[[], BatchDoors], running: Running, budget: str
) -> None:
    world.control(hold=True)
    made = await limited(world, owner, **{budget: 3 * most(world) + most(world) / 2})
    await world.store.accept(*(made() for _ in range(8)))
    running()
    await world.until_asked("state")
    assert [batch["request_counts"]["total"] for batch in world.upstream()] == [3]
    assert await world.store.statuses() == {"running": 3, "queued": 5}
    rows = await world.store.rows("SELECT id, attempts FROM jobs WHERE status = 'queued'")
    assert [row.attempts for row in rows] == [0] * 5
    assert [await world.store.places(row.id) for row in rows] == [["waiting"]] * 5
    assert await world.store.value("SELECT count(*) FROM attempts WHERE outcome = 'handed_back'") == 5


async def test_money_that_was_not_needed_is_there_for_the_next_batch(
    world: World, owner: AsyncEngine, doors: Callable[[], BatchDoors], running: Running, client: "Redis"
) -> None:
    budget = 3 * most(world) + most(world) / 2
    made = await limited(world, owner, budget_day_usd=budget)
    await world.store.accept(*(made() for _ in range(6)))
    running()
    await world.until(succeeded=3, queued=3)
    await world.store.make_due()
    await let_in_due(world.store.worker)
    await world.until(succeeded=6)
    assert await world.store.value("SELECT sum(cost_usd) FROM jobs") <= budget
    assert await set_aside(client, Kind.DAY) == 0


async def test_an_upload_that_is_tried_again_sets_nothing_aside_twice(
    world: World, owner: AsyncEngine, doors: Callable[[], BatchDoors], running: Running, client: "Redis"
) -> None:
    world.control(errors={"upload": {"status": 503, "times": 1}})
    made = await limited(world, owner, budget_day_usd=3 * most(world) + most(world) / 2)
    await world.store.accept(*(made() for _ in range(3)))
    running()
    await world.until(succeeded=3)
    assert world.asked("upload") == 2
    assert await world.store.value("SELECT count(*) FROM attempts WHERE outcome = 'handed_back'") == 0
    assert await set_aside(client, Kind.DAY) == 0


async def test_what_one_process_set_aside_another_settles(
    world: World, owner: AsyncEngine, doors: Callable[[], BatchDoors], client: "Redis"
) -> None:
    world.control(hold=True)
    made = await limited(world, owner, budget_month_usd=Decimal(1))
    await world.store.accept(made(), made())
    first = world.batches()
    await first._look()
    await world.until_asked("state")
    await first._stop()
    assert await set_aside(client, Kind.MONTH) == pytest.approx(2 * 10**9 * float(most(world)), rel=1e-6)

    world.doors = doors()
    world.control()
    await world.free()
    second = world.batches()

    async def settled() -> bool:
        await second._look()
        await world.free()
        return bool(await world.store.statuses() == {"succeeded": 2})

    await eventually(settled)

    async def nothing() -> bool:
        return await set_aside(client, Kind.MONTH) == 0

    await eventually(nothing)
    await second._stop()


async def test_what_fails_gives_its_money_back(
    world: World, owner: AsyncEngine, doors: Callable[[], BatchDoors], running: Running, client: "Redis"
) -> None:
    made = await limited(world, owner, budget_day_usd=Decimal(1))
    job = made()
    job.body = chat_body(MODEL, max_tokens=1000, sim={"error": {"status": 400}})
    await world.store.accept(job)
    running()
    await world.until(failed=1)
    assert await set_aside(client, Kind.DAY) == 0


async def test_tokens_a_minute_and_jobs_in_flight_are_limits_of_calls(
    world: World, owner: AsyncEngine, doors: Callable[[], BatchDoors], running: Running
) -> None:
    made = await limited(world, owner, tokens_per_minute=1, max_in_flight=1)
    await world.store.accept(*(made() for _ in range(4)))
    running()
    await world.until(succeeded=4)
    [booked] = await world.store.rows(
        "SELECT sum(input_tokens) AS i, sum(output_tokens) AS o, sum(cost_usd) AS usd FROM usage_days"
    )
    [told] = await world.store.rows(
        "SELECT sum((usage ->> 'input_tokens')::int) AS i, sum((usage ->> 'output_tokens')::int) AS o, "
        "sum(cost_usd) AS usd FROM jobs"
    )
    assert booked == told and told.o == 80


async def test_a_key_that_is_gone_has_no_limits(
    world: World, doors: Callable[[], BatchDoors], running: Running
) -> None:
    await world.store.accept(new_job(world.tenant, model=MODEL, lane="bulk", key_id=UUID(int=7), body=BODY))
    running()
    await world.until(succeeded=1)
