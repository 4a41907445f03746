"""Jobs in upstream batches and the caches: what is known stays here, what comes is kept, identical jobs share a line."""

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.cache import Cache, Entry, Planned, plan_job
from core.limits import Accounts, Gate
from core.settings import CacheSettings
from core.store.accept import NewJob
from tests.integration.upstream_batches.conftest import MODEL, World
from tests.support.store import chat_body, new_job
from workers.engine.admission import Admission
from workers.engine.batched import BatchDoors
from workers.engine.caching import Caching
from workers.upstream_batches import UpstreamBatches

Running = Callable[..., UpstreamBatches]


async def nothing(_: Any) -> dict[Any, Any]:
    """What Postgres says of keys without limits."""
    return {}


@pytest.fixture
async def cache(world: World, redis: EmbeddedRedis) -> AsyncIterator[Cache]:
    """The cache that the world's batches look into."""
    client = open_redis(redis.url, 2.0)
    cache = Cache(client, CacheSettings(wait_s=2.0))
    admission = Admission(Gate(Accounts(client, nothing), nothing), lambda: world.catalog)
    world.doors = BatchDoors(Caching(cache), admission, world.announcer)
    yield cache
    await cache.close()
    await client.aclose()


def asking(tenant: UUID, prompt: str = "Where?", options: dict[str, Any] | None = None, **body: Any) -> NewJob:
    """A bulk job as the API makes it, whose answer may be kept."""
    text = chat_body(MODEL, prompt, temperature=0, **body)
    job = new_job(tenant, model=MODEL, lane="bulk", body=text)
    plan_job(job, orjson.loads(text), options)
    return job


async def kept(cache: Cache, job: NewJob) -> Entry | None:
    assert job.cache_options is not None
    return await cache.get(job.tenant_id, Planned.of(orjson.loads(job.cache_options)).key)


async def status_of(world: World, job: UUID) -> Any:
    return orjson.loads((await world.store.job(job)).cache)["status"]


def lines_of(world: World) -> int:
    """How many requests all batches had."""
    return sum(batch["request_counts"]["total"] for batch in world.upstream())


async def test_answers_of_a_batch_are_kept_at_what_they_cost(world: World, cache: Cache, running: Running) -> None:
    job = asking(world.tenant)
    await world.store.accept(job)
    running()
    await world.until(succeeded=1)
    row = await world.store.job(job.id)
    entry = await kept(cache, job)
    assert entry is not None
    assert (entry.result, entry.cost_usd) == (row.result, row.cost_usd)
    assert entry.took_ms == 0  # how long the upstream worked on it nobody knows: a hit must not claim a batch's hours
    assert orjson.loads(row.cache) == {"status": "miss", "similarity": None, "age_s": None}


async def test_what_is_known_by_then_does_not_go_upstream(world: World, cache: Cache, running: Running) -> None:
    known = asking(world.tenant)
    await world.store.accept(known)
    running()
    await world.until(succeeded=1)
    again, other = asking(world.tenant), asking(world.tenant, "When?")
    await world.store.accept(again, other)
    await world.until(succeeded=3)
    row = await world.store.job(again.id)
    assert lines_of(world) == 2
    assert (await status_of(world, again.id), await status_of(world, other.id)) == ("hit", "miss")
    assert (row.result, row.cost_usd) == ((await world.store.job(known.id)).result, 0)
    assert await world.store.outcomes(again.id) == ["succeeded"]


async def test_a_batch_of_nothing_but_hits_is_never_made(world: World, cache: Cache, running: Running) -> None:
    await world.store.accept(asking(world.tenant))
    running()
    await world.until(succeeded=1)
    await world.store.accept(asking(world.tenant))
    await world.until(succeeded=2)
    assert [outcome for _, outcome in await world.states()] == ["completed", "empty"]
    assert world.asked("upload") == 1


async def test_another_tenants_answer_answers_nobody(world: World, cache: Cache, running: Running) -> None:
    await world.store.accept(asking(world.tenant))
    running()
    await world.until(succeeded=1)
    other = asking(await world.store.tenant())
    await world.store.accept(other)
    await world.until(succeeded=2)
    assert await status_of(world, other.id) == "miss"
    assert lines_of(world) == 2


@pytest.mark.parametrize("sim", [{"finish_reason": "length"}, {"finish_reason": "content_filter"}])
async def test_answers_that_are_cut_short_are_not_kept(
    world: World, cache: Cache, running: Running, sim: dict[str, Any]
) -> None:
    job = asking(world.tenant, sim=sim)
    await world.store.accept(job)
    running()
    await world.until(succeeded=1)
    assert await status_of(world, job.id) == "miss"
    assert await kept(cache, job) is None


async def test_a_job_that_asks_anew_goes_upstream_and_replaces_what_was_kept(
    world: World, cache: Cache, running: Running
) -> None:
    await world.store.accept(asking(world.tenant))
    running()
    await world.until(succeeded=1)
    anew = asking(world.tenant, options={"mode": "refresh"})
    await world.store.accept(anew)
    await world.until(succeeded=2)
    entry = await kept(cache, anew)
    assert entry is not None
    assert entry.result == (await world.store.job(anew.id)).result
    assert await status_of(world, anew.id) == "refreshed"
    assert lines_of(world) == 2


async def test_a_job_that_wants_a_kept_answer_and_nothing_else_is_never_sent(
    world: World, cache: Cache, running: Running
) -> None:
    job = asking(world.tenant, options={"mode": "only"})
    await world.store.accept(job)
    running()
    await world.until(failed=1)
    assert orjson.loads((await world.store.job(job.id)).error)["code"] == "cache_miss"
    assert world.asked("upload") == 0


async def test_without_redis_a_batch_goes_upstream_as_ever(world: World, running: Running) -> None:
    client = open_redis("redis://127.0.0.1:1", 0.2)
    admission = Admission(Gate(Accounts(client, nothing), nothing), lambda: world.catalog)
    world.doors = BatchDoors(Caching(Cache(client, CacheSettings())), admission, world.announcer)
    first, again = asking(world.tenant), asking(world.tenant)
    await world.store.accept(first, again)
    running()
    await world.until(succeeded=2)
    assert {await status_of(world, first.id), await status_of(world, again.id)} == {"miss", "coalesced"}
    await client.aclose()


async def test_identical_jobs_are_one_line_and_end_together(world: World, cache: Cache, running: Running) -> None:
    same = [asking(world.tenant) for _ in range(50)]
    others = [asking(world.tenant, f"Which {number}?") for number in range(3)]
    await world.store.accept(*same, *others)
    running()
    await world.until(succeeded=53)
    assert lines_of(world) == 4
    states = sorted([await status_of(world, job.id) for job in same])
    assert states == ["coalesced"] * 49 + ["miss"]
    assert len({(await world.store.job(job.id)).result for job in same}) == 1
    assert await world.store.value("SELECT count(*) FROM held_back") == 0
    paid = await world.store.value("SELECT sum(cost_usd) FROM jobs")
    assert paid == await world.store.value("SELECT sum(cost_usd) FROM usage_days")
    assert await world.store.value("SELECT count(*) FROM jobs WHERE cost_usd > 0") == 4


async def test_when_the_first_of_identical_jobs_is_cancelled_in_its_batch_the_next_goes_upstream(
    world: World, cache: Cache, running: Running
) -> None:
    world.control(hold=True)
    same = [asking(world.tenant) for _ in range(4)]
    await world.store.accept(*same)
    running()
    await world.until_asked("state")
    first = await world.store.value("SELECT job_id FROM running")
    await world.store.cancel(world.tenant, first)
    await world.until_asked("submit", 2)
    world.control()
    await world.until(succeeded=3, cancelled=1)
    assert sorted([await status_of(world, job.id) for job in same if job.id != first]) == [
        "coalesced", "coalesced", "miss",
    ]  # fmt: skip


async def test_when_the_first_of_identical_jobs_fails_the_next_goes_upstream(
    world: World, cache: Cache, running: Running
) -> None:
    same = [asking(world.tenant, sim={"error": {"status": 400}}) for _ in range(3)]
    await world.store.accept(*same)
    running()
    await world.until(failed=3)
    assert len(world.upstream()) == 3
    assert all([await world.store.outcomes(job.id) == ["failed"] for job in same])


async def test_a_hit_in_place_of_a_batch_is_booked_as_saved(world: World, cache: Cache, running: Running) -> None:
    await world.store.accept(asking(world.tenant))
    running()
    await world.until(succeeded=1)
    await world.store.accept(asking(world.tenant))
    await world.until(succeeded=2)
    [hours] = await world.store.rows(
        "SELECT sum(hits) AS hits, sum(misses) AS misses, sum(saved_usd) AS usd, sum(saved_ms) AS ms, sum(unpriced) AS unpriced "
        "FROM cache_hours"
    )
    paid: Decimal = await world.store.value("SELECT max(cost_usd) FROM jobs")
    assert (hours.hits, hours.misses, hours.usd, hours.ms, hours.unpriced) == (1, 1, paid, 0, 0)
