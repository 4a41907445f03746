"""Committing outcomes: nobody pays for a neighbour, and nothing is lost while Postgres is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.direct import Row
from core.lifecycle import Status
from core.store.work import DeltaChunk, Finish, Requeue
from tests.support.proxy import Proxy
from tests.support.servers import Databases, socket_of, through
from tests.support.store import PUBLIC_URL, RESULT, Process, Store, new_job
from tests.support.waiting import eventually
from workers.engine.finisher import Finisher, Outcome
from workers.engine.job import Job


class Desk:
    """A finisher of one process, and what it told."""

    def __init__(self, engine: AsyncEngine, process: Process, **options: Any) -> None:
        self.announced: list[UUID] = []
        self.settled: list[Outcome] = []
        self.work: list[str] = []
        self._all = asyncio.Event()
        self._expected = 0
        announcer: Any = self
        self.finisher = Finisher(
            engine, process.id, PUBLIC_URL, most=options.get("most", 100), announcer=announcer, done=self._done,
            work=self.work.append, committers=options.get("committers", 1),
        )  # fmt: skip
        self.finisher.start()

    def moved(self, jobs: Iterable[UUID]) -> None:
        self.announced += jobs

    def _done(self, outcomes: Iterable[Outcome]) -> None:
        self.settled += outcomes
        if len(self.settled) >= self._expected:
            self._all.set()

    async def submit(self, *outcomes: Outcome) -> None:
        """Submit outcomes and wait until all are settled."""
        self._expected = len(self.settled) + len(outcomes)
        self._all.clear()
        for outcome in outcomes:
            self.finisher.submit(outcome)
        async with asyncio.timeout(30):
            await self._all.wait()


@pytest.fixture
async def open_desk(store: Store) -> AsyncIterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def start(process: Process, engine: AsyncEngine = store.worker, **options: Any) -> Desk:
        desks.append(Desk(engine, process, **options))
        return desks[-1]

    yield start
    for desk in desks:
        await desk.finisher.stop()


def success(row: Row, result: str = RESULT, *, chunk: DeltaChunk | None = None) -> Outcome:
    job = Job.of(row, 1)
    last_seq = chunk.last_seq if chunk else job.event_seq
    finish = Finish(job.id, job.lease_no, "succeeded", last_seq, result=result, plain=job.plain)
    return Outcome(job, finish, [chunk] if chunk else [])


async def test_outcomes_that_come_together_are_stored_and_told(store: Store, open_desk: Callable[..., Desk]) -> None:
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant) for _ in range(30)))
    worker = await store.process()
    rows = await worker.claim()
    desk = open_desk(worker)
    await desk.submit(*(success(row) for row in rows))
    assert await store.statuses() == {"succeeded": 30}
    assert set(desk.announced) == {row.id for row in rows}
    assert await worker.renew() == {}


@pytest.mark.parametrize("bad", [{0}, {5}, {2, 7}, set(range(8))])
@pytest.mark.parametrize("webhook", [None, '{"url": "https://receiver.test/hook"}'])
async def test_an_outcome_that_the_database_refuses_fails_its_own_job_only(
    store: Store, open_desk: Callable[..., Desk], bad: set[int], webhook: str | None
) -> None:
    tenant = await store.tenant()
    # Every second one ends with more than a row: with a webhook, so in a transaction.
    await store.accept(*(new_job(tenant, webhook=webhook if n % 2 else None) for n in range(8)))
    worker = await store.process()
    rows = await worker.claim()
    desk = open_desk(worker)
    await desk.submit(*(success(row, "{no json" if n in bad else RESULT) for n, row in enumerate(rows)))
    for n, row in enumerate(rows):
        job = await store.job(row.id)
        assert job.status == (Status.FAILED if n in bad else Status.SUCCEEDED)
        assert n not in bad or orjson.loads(job.error)["code"] == "bad_reply"
        assert len(await store.outcomes(row.id)) == 1
    assert set(desk.announced) == {row.id for row in rows}
    wanted = 4 if webhook else 0
    assert await store.value("SELECT count(*) FROM webhook_deliveries") == wanted
    assert ("webhooks" in desk.work) == (wanted > 0)


async def test_a_chunk_that_the_database_refuses_fails_its_own_job_only(
    store: Store, open_desk: Callable[..., Desk]
) -> None:
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant, stream=True) for _ in range(3)))
    worker = await store.process()
    rows = await worker.claim()
    chunks = [DeltaChunk(row.id, row.lease_no, 3, 3, "[no json" if n == 1 else '["a"]') for n, row in enumerate(rows)]
    desk = open_desk(worker)
    await desk.submit(*(success(row, chunk=chunk) for row, chunk in zip(rows, chunks, strict=True)))
    assert [await store.status(row.id) for row in rows] == [Status.SUCCEEDED, Status.FAILED, Status.SUCCEEDED]


async def test_outcomes_of_lost_leases_are_settled_without_being_stored(
    store: Store, open_desk: Callable[..., Desk]
) -> None:
    tenant = await store.tenant()
    await store.accept(new_job(tenant), new_job(tenant))
    worker = await store.process()
    rows = await worker.claim()
    await store.cancel(tenant, rows[0].id)
    desk = open_desk(worker)
    again = Job.of(rows[1], 1)
    await desk.submit(
        success(rows[0]),
        Outcome(again, Requeue(again.id, again.lease_no, "retried", "upstream_error", again.event_seq)),
    )
    assert await store.statuses() == {"cancelled": 1, "queued": 1}
    assert await store.outcomes(rows[0].id) == ["cancelled"]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_whose_answer_was_lost_stores_the_outcome_once(
    store: Store, open_desk: Callable[..., Desk], open_engine: Callable[..., AsyncEngine], databases: Databases,
    database_url: str, plain: bool, committed: bool,
) -> None:  # fmt: skip
    tenant = await store.tenant()
    job = new_job(tenant, webhook=None if plain else '{"url": "https://receiver.test/hook"}')
    await store.accept(job)
    worker = await store.process()
    [row] = await worker.claim()
    with Proxy(socket_of(databases.server)) as proxy:
        engine = open_engine("coatcheck_worker", database_url=through(proxy, database_url))
        desk = open_desk(worker, engine)
        mark = b"the-result" if plain else b"COMMIT"
        catch = proxy.catch(mark, forward=committed, after=b"the-result")
        submitting = asyncio.create_task(desk.submit(success(row, '{"x":"the-result"}')))
        await asyncio.to_thread(catch.wait)
        proxy.release(catch, "cut")
        await submitting
    assert await store.status(job.id) is Status.SUCCEEDED
    assert await store.outcomes(job.id) == ["succeeded"]
    assert await store.value("SELECT count(*) FROM webhook_deliveries") == (0 if plain else 1)
    assert desk.announced == [job.id]


async def test_outcomes_wait_for_a_database_that_is_away(
    store: Store, open_desk: Callable[..., Desk], open_engine: Callable[..., AsyncEngine], databases: Databases,
    database_url: str,
) -> None:  # fmt: skip
    tenant = await store.tenant()
    await store.accept(*(new_job(tenant) for _ in range(20)))
    worker = await store.process()
    rows = await worker.claim()
    with Proxy(socket_of(databases.server)) as proxy:
        engine = open_engine("coatcheck_worker", database_url=through(proxy, database_url))
        desk = open_desk(worker, engine, most=5, committers=2)
        proxy.set("reset")
        submitting = asyncio.create_task(desk.submit(*(success(row) for row in rows)))

        async def tried() -> bool:
            return proxy.accepted >= 3

        await eventually(tried)
        assert desk.settled == []
        proxy.set("pass")
        await submitting
    assert await store.statuses() == {"succeeded": 20}


async def test_an_outcome_that_nobody_can_be_told_of_is_settled_all_the_same(
    store: Store, open_desk: Callable[..., Desk]
) -> None:
    tenant = await store.tenant()
    worker = await store.process()
    jobs = await store.accept(*(new_job(tenant) for _ in range(2)))
    first, second = await worker.claim()
    desk = open_desk(worker)

    def broken(_: object) -> None:
        desk.moved = usual  # type: ignore[method-assign]
        raise KeyError("a defect")

    usual, desk.moved = desk.moved, broken  # type: ignore[method-assign, assignment]
    await desk.submit(success(first))
    await desk.submit(success(second))
    assert [await store.status(job) for job in jobs] == [Status.SUCCEEDED, Status.SUCCEEDED]
    assert desk.finisher.healthy
