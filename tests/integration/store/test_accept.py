"""Accepting: group commits, idempotency keys, and answers that get lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.postgres import EmbeddedPostgres
from core import ids
from core.lifecycle import Status
from core.store.accept import Accepted, NewJob
from core.store.committer import Committer
from core.store.failures import StoreUnavailable
from tests.support.proxy import Proxy
from tests.support.servers import Databases, socket_of, through
from tests.support.store import Store, new_job

DAY = timedelta(days=1)


@pytest.fixture
async def committing() -> AsyncIterator[Callable[..., Committer]]:
    """Starts committers, and stops them at the end."""
    started: list[Committer] = []

    def start(engine: AsyncEngine, **options: int) -> Committer:
        committer = Committer(engine, **options)
        committer.start()
        started.append(committer)
        return committer

    yield start
    for committer in started:
        await committer.stop()


def keyed(job: NewJob, key: str, fingerprint: bytes = b"same") -> NewJob:
    job.idempotency_key, job.fingerprint = key, fingerprint
    return job


async def test_an_accepted_job_stands_ready(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    job = new_job(tenant, lane="interactive", priority=9, metadata='{"a": "b"}', webhook='{"url": "https://a.test"}')
    accepted = await committing(store.api).submit(job)

    row = await store.job(job.id)
    assert accepted == Accepted(created_at=row.created_at)
    assert (row.status, row.lane, row.priority, row.metadata) == (Status.QUEUED, "interactive", 9, '{"a": "b"}')
    assert (row.attempts, row.lease_no, row.version, row.event_seq) == (0, 0, 1, 1)
    assert row.run_at == row.created_at
    assert row.expires_at == row.created_at + DAY
    assert await store.places(job.id) == ["ready"]


async def test_a_job_for_later_waits_outside_the_queue(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    later = datetime.now(UTC) + timedelta(hours=1)
    job = new_job(tenant, run_at=later, expires_at=later + DAY)
    await committing(store.api).submit(job)
    assert await store.places(job.id) == ["waiting"]
    assert (await store.job(job.id)).run_at == later
    worker = await store.process()
    assert await worker.claim(models={"sim/fast": 1}) == []


async def test_a_time_that_has_passed_means_now(store: Store, committing: Callable[..., Committer]) -> None:
    job = new_job(await store.tenant(), run_at=datetime.now(UTC) - timedelta(minutes=1))
    await committing(store.api).submit(job)
    assert await store.places(job.id) == ["ready"]


async def test_jobs_that_come_together_share_a_commit(store: Store, committing: Callable[..., Committer]) -> None:
    tenants = [await store.tenant() for _ in range(3)]
    committer = committing(store.api)
    jobs = [new_job(tenants[n % 3]) for n in range(60)]
    accepted = await asyncio.gather(*(committer.submit(job) for job in jobs))
    assert committer.commits <= 2
    assert len({answer.created_at for answer in accepted}) <= 2
    assert await store.statuses() == {"queued": 60}


async def test_a_commit_takes_no_more_jobs_than_it_may(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    committer = committing(store.api, most=10, committers=1)
    await asyncio.gather(*(committer.submit(new_job(tenant)) for _ in range(35)))
    assert committer.commits == 4


@pytest.mark.parametrize("bad", [{0}, {4}, {0, 9}, {3, 4, 5}, set(range(10))])
async def test_only_the_guilty_rows_of_a_commit_fail(
    store: Store, committing: Callable[..., Committer], bad: set[int]
) -> None:
    tenant = await store.tenant()
    jobs = [new_job(tenant, priority=77 if n in bad else 5) for n in range(10)]
    committer = committing(store.api, committers=1)
    answers = await asyncio.gather(*(committer.submit(job) for job in jobs), return_exceptions=True)
    for n, answer in enumerate(answers):
        assert isinstance(answer, asyncpg.PostgresError if n in bad else Accepted)
    assert await store.value("SELECT count(*) FROM jobs") == 10 - len(bad)
    assert await store.value("SELECT count(*) FROM ready") == 10 - len(bad)


async def test_a_failing_neighbour_does_not_keep_a_key(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    committer = committing(store.api, committers=1)
    guilty = keyed(new_job(tenant, priority=77), "mine")
    good = keyed(new_job(tenant), "other")
    answers = await asyncio.gather(committer.submit(guilty), committer.submit(good), return_exceptions=True)
    assert isinstance(answers[0], DBAPIError | asyncpg.PostgresError)
    again = await committer.submit(keyed(new_job(tenant), "mine"))
    assert again.created_at is not None


async def test_the_same_key_and_payload_lead_to_the_first_job(
    store: Store, committing: Callable[..., Committer]
) -> None:
    tenant = await store.tenant()
    committer = committing(store.api)
    first = keyed(new_job(tenant), "k")
    await committer.submit(first)
    assert await committer.submit(keyed(new_job(tenant), "k")) == Accepted(original=first.id)
    assert await store.value("SELECT count(*) FROM jobs") == 1


async def test_the_same_key_with_another_payload_is_a_conflict(
    store: Store, committing: Callable[..., Committer]
) -> None:
    tenant = await store.tenant()
    committer = committing(store.api)
    await committer.submit(keyed(new_job(tenant), "k", b"one"))
    assert await committer.submit(keyed(new_job(tenant), "k", b"two")) == Accepted(conflict=True)
    assert await store.value("SELECT count(*) FROM jobs") == 1


async def test_the_same_key_of_another_tenant_is_another_key(
    store: Store, committing: Callable[..., Committer]
) -> None:
    committer = committing(store.api)
    answers = [await committer.submit(keyed(new_job(await store.tenant()), "k")) for _ in range(2)]
    assert all(answer.created_at for answer in answers)


async def test_one_commit_settles_a_key_that_it_holds_several_times(
    store: Store, committing: Callable[..., Committer]
) -> None:
    tenant = await store.tenant()
    committer = committing(store.api, committers=1)
    jobs = [keyed(new_job(tenant), "k", fingerprint) for fingerprint in (b"one", b"one", b"two")]
    first, same, other = await asyncio.gather(*(committer.submit(job) for job in jobs))
    assert first.created_at is not None
    assert same == Accepted(original=jobs[0].id)
    assert other == Accepted(conflict=True)
    assert await store.value("SELECT count(*) FROM jobs") == 1


async def test_a_key_is_free_again_after_a_day(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    committer = committing(store.api)
    await committer.submit(keyed(new_job(tenant), "k"))
    await store.sql("UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 s'")
    again = keyed(new_job(tenant), "k")
    assert (await committer.submit(again)).created_at is not None
    assert await committer.submit(keyed(new_job(tenant), "k")) == Accepted(original=again.id)


async def test_a_storm_of_posts_with_one_key_makes_one_job(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    processes = [committing(store.api, most=5) for _ in range(3)]
    jobs = [keyed(new_job(tenant), "k") for _ in range(60)]
    answers = await asyncio.gather(*(processes[n % 3].submit(job) for n, job in enumerate(jobs)))
    [winner] = [job.id for job, answer in zip(jobs, answers, strict=True) if answer.created_at]
    assert {answer.original for answer in answers if not answer.created_at} == {winner}
    assert await store.value("SELECT count(*) FROM jobs") == 1


async def test_commits_with_the_same_keys_in_opposite_orders_never_block_each_other(
    store: Store, committing: Callable[..., Committer]
) -> None:
    tenants = [await store.tenant() for _ in range(2)]
    before = await store.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    for round_no in range(10):
        keys = [(tenant, f"{round_no}-{n}") for tenant in tenants for n in range(20)]
        one, two = committing(store.api, committers=1), committing(store.api, committers=1)
        await asyncio.gather(
            *(one.submit(keyed(new_job(tenant), key)) for tenant, key in keys),
            *(two.submit(keyed(new_job(tenant), key)) for tenant, key in reversed(keys)),
        )
    assert await store.value("SELECT count(*) FROM jobs") == 400
    # Deadlocks are counted when a backend ends its transaction and reports.
    await store.sql("SELECT pg_stat_clear_snapshot()")
    assert await store.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == before


async def test_a_stopped_committer_accepts_nothing_more(store: Store) -> None:
    committer = Committer(store.api)
    committer.start()
    waiting = asyncio.create_task(committer.submit(new_job(await store.tenant())))
    await committer.stop()
    with pytest.raises(StoreUnavailable):
        await waiting


async def test_a_client_that_goes_away_does_not_undo_the_commit(
    store: Store, committing: Callable[..., Committer]
) -> None:
    committer = committing(store.api)
    job = new_job(await store.tenant())
    client = asyncio.create_task(committer.submit(job))
    await asyncio.sleep(0)
    client.cancel()
    await committer.submit(new_job(job.tenant_id))
    assert await store.status(job.id) is Status.QUEUED


class TestLostAnswers:
    """The connection dies at COMMIT, and nobody can tell from the error what became of it."""

    @pytest.fixture
    def postgres(self, databases: Databases) -> EmbeddedPostgres:
        return databases.server

    @pytest.mark.parametrize("with_key", [True, False])
    async def test_a_commit_that_happened_is_answered_with_its_time(
        self, with_key: bool, store: Store, postgres: EmbeddedPostgres, database_url: str,
        open_engine: Callable[..., AsyncEngine], committing: Callable[..., Committer],
    ) -> None:  # fmt: skip
        tenant = await store.tenant()
        with Proxy(socket_of(postgres)) as proxy:
            engine = open_engine("coatcheck_api", database_url=through(proxy, database_url))
            committer = committing(engine, committers=1)
            # A job without an idempotency key is one statement and its own commit; with a key there is a COMMIT.
            job = keyed(new_job(tenant), "k") if with_key else new_job(tenant, request_id="caught-by-this")
            catch = proxy.catch(b"COMMIT" if with_key else b"caught-by-this", forward=True)
            answer = asyncio.create_task(committer.submit(job))
            await asyncio.to_thread(catch.wait)
            assert await store.status(job.id) is Status.QUEUED
            proxy.release(catch, "cut")
            assert (await answer).created_at == (await store.job(job.id)).created_at

    async def test_a_commit_that_never_arrived_is_refused(
        self, store: Store, postgres: EmbeddedPostgres, database_url: str,
        open_engine: Callable[..., AsyncEngine], committing: Callable[..., Committer],
    ) -> None:  # fmt: skip
        tenant = await store.tenant()
        with Proxy(socket_of(postgres)) as proxy:
            engine = open_engine("coatcheck_api", database_url=through(proxy, database_url))
            committer = committing(engine, committers=1)
            catch = proxy.catch(b"COMMIT", forward=False)
            answer = asyncio.create_task(committer.submit(keyed(new_job(tenant), "k")))
            await asyncio.to_thread(catch.wait)
            proxy.release(catch, "cut")
            with pytest.raises(StoreUnavailable):
                await answer
            assert await store.value("SELECT count(*) FROM jobs") == 0
            assert (await committer.submit(keyed(new_job(tenant), "k"))).created_at is not None

    async def test_replays_and_conflicts_of_a_lost_commit_stay_what_they_are(
        self, store: Store, postgres: EmbeddedPostgres, database_url: str,
        open_engine: Callable[..., AsyncEngine], committing: Callable[..., Committer],
    ) -> None:  # fmt: skip
        tenant = await store.tenant()
        first = keyed(new_job(tenant), "k")
        await committing(store.api).submit(first)
        with Proxy(socket_of(postgres)) as proxy:
            engine = open_engine("coatcheck_api", database_url=through(proxy, database_url))
            committer = committing(engine, committers=1)
            catch = proxy.catch(b"COMMIT", forward=True)
            jobs = [new_job(tenant), keyed(new_job(tenant), "k"), keyed(new_job(tenant), "k", b"other")]
            answers = asyncio.gather(*(committer.submit(job) for job in jobs), return_exceptions=True)
            await asyncio.to_thread(catch.wait)
            proxy.release(catch, "cut")
            fresh, replay, conflict = await answers
            assert isinstance(fresh, Accepted)
            assert fresh.created_at is not None
            assert isinstance(replay, StoreUnavailable) or replay == Accepted(original=first.id)
            assert isinstance(conflict, StoreUnavailable) or conflict == Accepted(conflict=True)

    async def test_a_database_that_is_away_accepts_nothing(
        self, store: Store, postgres: EmbeddedPostgres, database_url: str,
        open_engine: Callable[..., AsyncEngine], committing: Callable[..., Committer],
    ) -> None:  # fmt: skip
        tenant = await store.tenant()
        with Proxy(socket_of(postgres)) as proxy:
            engine = open_engine("coatcheck_api", database_url=through(proxy, database_url))
            committer = committing(engine)
            await committer.submit(new_job(tenant))
            proxy.set("reset")
            answers = await asyncio.gather(
                *(committer.submit(new_job(tenant)) for _ in range(20)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            proxy.set("pass")
            assert (await committer.submit(new_job(tenant))).created_at is not None
        assert await store.value("SELECT count(*) FROM jobs") == 2


async def test_new_ids_of_a_commit_may_come_in_any_order(store: Store, committing: Callable[..., Committer]) -> None:
    tenant = await store.tenant()
    jobs = [new_job(tenant) for _ in range(5)]
    committer = committing(store.api, committers=1)
    await asyncio.gather(*(committer.submit(job) for job in reversed(jobs)))
    worker = await store.process()
    assert [row.id for _ in jobs for row in await worker.claim(1)] == sorted(job.id for job in jobs)
    assert all(job.id.version == 7 for job in jobs)
    assert ids.new_id() > jobs[-1].id


async def test_a_defect_in_one_commit_is_told_and_the_next_one_works(
    store: Store, committing: Callable[..., Committer]
) -> None:
    tenant = await store.tenant()
    committer = committing(store.api, committers=1)
    # Keys that cannot be sorted: what no check before should let through.
    broken = [keyed(new_job(tenant), "k"), keyed(new_job(tenant), 5)]  # type: ignore[arg-type]
    answers = await asyncio.gather(*(committer.submit(job) for job in broken), return_exceptions=True)
    assert all(isinstance(answer, TypeError) for answer in answers)
    assert committer.healthy
    assert (await committer.submit(new_job(tenant))).created_at is not None
