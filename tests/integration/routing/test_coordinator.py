"""What worker processes tell each other through Redis: parts of a limit, breakers, rests."""

import itertools
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core import ids
from core.announce import open_redis
from policies.catalog import Catalog, Deployment
from workers.providers.protocol import ProviderError, UpstreamTiming, Usage
from workers.routing.coordinator import Coordinator
from workers.routing.router import Router
from workers.routing.state import DeploymentState, Visit

CHAT = "/v1/chat/completions"


def deployment(name: str = "a", **changes: Any) -> Deployment:
    return Deployment(**({"name": name, "model": "m", "provider": "openai", "base_url": "http://up.test"} | changes))


class Worker:
    """A worker process as far as routing goes."""

    def __init__(self, redis: Redis, catalog: Catalog, workers: int = 1, lease_s: float = 30.0) -> None:
        self.workers = workers
        self.router = Router(catalog)
        self.coordinator = Coordinator(redis, self.router, ids.new_id(), lambda: self.workers, lease_s=lease_s)
        self.visits: list[Visit] = []

    @property
    def a(self) -> DeploymentState:
        return self.router.states["a"]

    def start(self, most: int = 10**6) -> int:
        """Start calls as long as there is room; return how many."""
        started = 0
        while started < most and (choice := self.router.choose("m", CHAT)) is not None:
            self.visits.append(choice.state.begin(CHAT, 10))
            started += 1
        return started

    def end(self, count: int, took_ms: float = 5.0) -> None:
        for _ in range(min(count, len(self.visits))):
            visit = self.visits.pop()
            visit.answered(UpstreamTiming(upstream_ms=took_ms), Usage(5, 5, 0, 10), None)
            visit.left()

    def fail(self, code: str = "upstream_error", **more: Any) -> None:
        visit = self.visits.pop()
        visit.failed(ProviderError(code, "It fell over.", retryable=True, **more))
        visit.left()


OpenWorker = Callable[..., Worker]


@pytest.fixture
async def clients(redis: EmbeddedRedis) -> AsyncIterator[Callable[[], Redis]]:
    opened: list[Redis] = []

    def open_one() -> Redis:
        opened.append(open_redis(redis.url, 2.0))
        return opened[-1]

    yield open_one
    for client in opened:
        await client.aclose()


@pytest.fixture
def open_worker(clients: Callable[[], Redis]) -> OpenWorker:
    def open_one(*deployments: Deployment, **options: Any) -> Worker:
        return Worker(clients(), Catalog(deployments), **options)

    return open_one


@pytest.mark.parametrize("limit", [1, 2, 7, 64])
async def test_two_workers_never_exceed_the_limit_together_and_use_all_of_it(
    open_worker: OpenWorker, limit: int
) -> None:
    dice = random.Random(limit)
    workers = [open_worker(deployment(max_concurrency=limit)) for _ in range(2)]
    most = 0
    for _ in range(150):
        worker = dice.choice(workers)
        match dice.choice(["start", "end", "exchange", "exchange"]):
            case "start":
                if worker.start(dice.randint(1, limit)) == 0:
                    worker.router.short_of(["m"])
            case "end":
                worker.end(dice.randint(1, limit))
            case _:
                assert await worker.coordinator.once()
        under_way = sum(len(worker.visits) for worker in workers)
        most = max(most, under_way)
        assert under_way <= limit
        assert sum(worker.a.part.slots for worker in workers) <= max(limit, under_way)
    assert most == limit


async def test_a_worker_alone_may_use_all(open_worker: OpenWorker) -> None:
    worker = open_worker(deployment(max_concurrency=16))
    await worker.coordinator.once()
    assert worker.start() == 14  # two are left for whoever comes
    worker.router.short_of(["m"])
    await worker.coordinator.once()
    await worker.coordinator.once()
    assert worker.start() == 2


async def test_a_worker_that_comes_new_has_a_part_at_once_and_soon_its_half(open_worker: OpenWorker) -> None:
    first, second = (open_worker(deployment(max_concurrency=16)) for _ in range(2))
    await first.coordinator.once()
    await second.coordinator.once()
    assert second.a.part.slots == 2
    for _ in range(2):
        await first.coordinator.once()
        await second.coordinator.once()
    assert [worker.a.part.slots for worker in (first, second)] in ([8, 7], [7, 8])


async def test_a_silent_worker_loses_its_part_when_its_lease_is_over(open_worker: OpenWorker) -> None:
    dead, alive = (open_worker(deployment(max_concurrency=4), lease_s=lease) for lease in (0.0, 30.0))
    await dead.coordinator.once()
    dead.start()
    await alive.coordinator.once()
    alive.router.short_of(["m"])
    await alive.coordinator.once()
    assert alive.a.part.slots == 4


async def test_a_worker_that_leaves_gives_its_part_back(open_worker: OpenWorker) -> None:
    leaving, staying = (open_worker(deployment(max_concurrency=4)) for _ in range(2))
    await leaving.coordinator.once()
    await leaving.coordinator.leave()
    await staying.coordinator.once()
    assert staying.a.part.slots == 4


async def test_without_redis_everybody_takes_an_even_part(tmp_path: Path, redis: EmbeddedRedis) -> None:
    async with open_redis(f"unix://{tmp_path / 'no.sock'}?db=0", 0.2) as nowhere:
        worker = Worker(nowhere, Catalog((deployment(max_concurrency=9),)), workers=3)
        assert not await worker.coordinator.once()
        assert worker.a.part.slots == 3
        worker.workers = 100
        assert not await worker.coordinator.once()
        assert worker.a.part.slots == 1
    async with open_redis(redis.url, 2.0) as back:
        again = Coordinator(back, worker.router, ids.new_id(), lambda: 1)
        assert await again.once()
        assert await again.once()
        assert worker.a.part.slots == 8


async def test_a_breaker_that_opens_in_one_worker_opens_in_all_and_closes_again(open_worker: OpenWorker) -> None:
    one, other = (open_worker(deployment()) for _ in range(2))
    for worker in (one, other):
        await worker.coordinator.once()
    one.start(5)
    for _ in range(5):
        one.fail()
    assert one.router.room() == {"m": 0}
    assert other.router.room()["m"] > 0
    await one.coordinator.once()
    await other.coordinator.once()
    assert other.router.room() == {"m": 0}
    assert other.a.breaker.reason == "5 failures in a row"
    one.a.breaker.close()
    await one.coordinator.once()
    await other.coordinator.once()
    assert other.router.room()["m"] > 0


async def test_a_broken_upstream_is_probed_by_one_worker_and_not_by_all(open_worker: OpenWorker) -> None:
    workers = [open_worker(deployment(max_concurrency=64)) for _ in range(4)]
    for worker in workers * 3:
        await worker.coordinator.once()
    broken = workers[2]
    broken.start(5)
    for _ in range(5):
        broken.fail()
    for worker in (broken, *workers):
        await worker.coordinator.once()
    moments = sorted(worker.a.breaker.retry_at or 0.0 for worker in workers)
    assert moments[0] == broken.a.breaker.retry_at
    assert all(later - earlier > 1.0 for earlier, later in itertools.pairwise(moments))
    # Its probe fails: the others, whose turn would come, are told to wait once more.
    broken.a.breaker.hold_until(moments[0], moments[0] + 500.0)
    for worker in (broken, *workers):
        await worker.coordinator.once()
    again = sorted(worker.a.breaker.retry_at or 0.0 for worker in workers)
    assert again[0] == broken.a.breaker.retry_at
    assert again[0] > moments[-1]


async def test_failures_that_no_worker_saw_enough_of_count_together(open_worker: OpenWorker) -> None:
    workers = [open_worker(deployment()) for _ in range(2)]
    for worker in workers:
        await worker.coordinator.once()
        worker.start(3)
        for _ in range(3):
            worker.fail()
        assert worker.router.room()["m"] > 0
    for worker in (*workers, workers[0]):
        await worker.coordinator.once()
    assert [worker.router.room()["m"] for worker in workers] == [0, 0]


async def test_an_upstream_that_asks_to_wait_is_left_alone_by_all(open_worker: OpenWorker) -> None:
    one, other = (open_worker(deployment()) for _ in range(2))
    for worker in (one, other):
        await worker.coordinator.once()
    one.start(1)
    one.fail("rate_limited", retry_after_s=30.0, upstream_status=429)
    await one.coordinator.once()
    await other.coordinator.once()
    assert [worker.router.room()["m"] for worker in (one, other)] == [0, 0]
    assert other.a.record.shown()["errors"] == 0


async def test_turned_away_calls_lower_the_limit_of_all_workers(open_worker: OpenWorker) -> None:
    workers = [open_worker(deployment(max_concurrency=20, min_concurrency=4)) for _ in range(2)]
    for _ in range(2):
        for worker in workers:
            await worker.coordinator.once()
    for worker in workers:
        worker.start()
        worker.fail("rate_limited", upstream_status=429)
    for _ in range(3):
        for worker in workers:
            await worker.coordinator.once()
    limits = [worker.a.part.limit for worker in workers]
    assert limits[0] == limits[1] < 20
    assert limits[0] >= 4


async def test_the_limit_goes_on_adapting_when_the_catalog_gives_a_deployment_another_address(
    open_worker: OpenWorker,
) -> None:
    worker = open_worker(deployment(max_concurrency=20, min_concurrency=4))
    await worker.coordinator.once()
    elsewhere = deployment(max_concurrency=20, min_concurrency=4, base_url="http://elsewhere.test")
    worker.router.adopt(Catalog((elsewhere,)))
    await worker.coordinator.once()
    worker.start()
    worker.fail("rate_limited", upstream_status=429)
    for _ in range(3):
        await worker.coordinator.once()
    assert 4 <= worker.a.part.limit < 20


async def test_whole_answers_that_come_slowly_lower_the_limit_of_all_workers(open_worker: OpenWorker) -> None:
    busy, quiet = (open_worker(deployment(max_concurrency=20)) for _ in range(2))

    async def round_of_calls(took_ms: float) -> None:
        busy.router.short_of(["m"])
        for worker in (busy, quiet, busy):
            await worker.coordinator.once()
        busy.start()
        for worker in (busy, quiet):
            await worker.coordinator.once()
        busy.end(10**6, took_ms)
        for worker in (busy, quiet):
            await worker.coordinator.once()

    await round_of_calls(50.0)
    assert {worker.a.part.limit for worker in (busy, quiet)} == {20}
    await round_of_calls(60.0)
    assert {worker.a.part.limit for worker in (busy, quiet)} == {20}
    await round_of_calls(500.0)
    for worker in (busy, quiet, busy, quiet):
        await worker.coordinator.once()
    assert {worker.a.part.limit for worker in (busy, quiet)} == {14}


async def test_when_redis_forgets_nobody_takes_what_others_still_use(
    open_worker: OpenWorker, clients: Callable[[], Redis]
) -> None:
    busy, idle = (open_worker(deployment(max_concurrency=16)) for _ in range(2))
    for _ in range(3):
        busy.router.short_of(["m"])
        await idle.coordinator.once()
        await busy.coordinator.once()
    assert busy.start() > 8
    await clients().flushall()
    for _ in range(3):
        await idle.coordinator.once()
        idle.start()
        await busy.coordinator.once()
        busy.start()
        assert len(busy.visits) + len(idle.visits) <= 16


async def test_requests_of_a_minute_are_shared_and_never_exceeded(open_worker: OpenWorker) -> None:
    workers = [open_worker(deployment(requests_per_minute=12)) for _ in range(2)]
    started = 0
    for _ in range(20):
        for worker in workers:
            await worker.coordinator.once()
            started += worker.start()
            worker.end(100)
    assert started == 12
    assert [worker.router.room()["m"] for worker in workers] == [0, 0]


async def test_tokens_of_a_minute_are_overrun_by_one_call_of_each_worker_at_most(open_worker: OpenWorker) -> None:
    workers = [open_worker(deployment(tokens_per_minute=95)) for _ in range(2)]
    started = 0
    for _ in range(20):
        for worker in workers:
            await worker.coordinator.once()
            started += worker.start()
            worker.end(100)
    assert 9 <= started <= 11
