"""The books of running jobs: whatever ends an attempt, at whatever moment, its slot comes free exactly once."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from core import ids
from core.catalog import simulated
from core.limits import Gate
from core.store.work import Finish, Requeue
from policies.catalog import Catalog
from tests.support.jobs import claimed_job
from workers.engine.admission import Admission
from workers.engine.attempt import Attempts
from workers.engine.caching import Caching
from workers.engine.deltas import DeltaWriter
from workers.engine.finisher import Outcome
from workers.engine.flight import Flight
from workers.engine.job import Job
from workers.engine.slots import Slots
from workers.providers.protocol import Call, Delta, Reply, UpstreamTiming
from workers.routing.router import Router


class Upstream:
    """A provider that answers when it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, asyncio.Event] = {}
        self.deltas = 0
        self.cancelled = 0
        self.error: Exception | None = None

    async def call(self, call: Call, on_delta: Callable[[Delta], None] | None) -> Reply:
        for _ in range(self.deltas):
            assert on_delta is not None
            on_delta(Delta("text", None))
        try:
            await self.answers.setdefault(call.headers["x-coatcheck-job-id"], asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return Reply({"object": "chat.completion"}, None, UpstreamTiming())

    async def aclose(self) -> None:
        """Nothing is open."""


class Quiet:
    """An announcer that nobody listens to."""

    def moved(self, _jobs: object) -> None:
        """Tell nobody."""

    def deltas(self, *_: object) -> None:
        """Tell nobody."""


class Tower:
    """A flight with its surroundings."""

    def __init__(self) -> None:
        self.upstream = Upstream()
        self.writer = DeltaWriter(None, 0.01)  # type: ignore[arg-type]
        self.slots = Slots(("default",), most=8, reserved=0, body_bytes=1000, claim_limit=8)
        self.outcomes: list[Outcome] = []
        self.freed = 0
        catalog = Catalog(tuple(simulated("http://simulator.test")))
        router = Router(catalog)
        router.states["sim/fast"].part.slots = 8
        providers: Any = {"openai": self.upstream}
        attempts = Attempts(router, providers)
        quiet: Any = Quiet()
        admission = Admission(Gate(quiet, quiet), lambda: catalog)
        self.flight = Flight(
            self.slots,
            attempts,
            admission,
            self.writer,
            quiet,
            submit=self.outcomes.append,
            freed=self._freed,
            caching=Caching(quiet),
        )

    def _freed(self) -> None:
        self.freed += 1

    def begin(self, *, stream: bool = False, lease_no: int = 1, job_id: UUID | None = None, **row: Any) -> Job:
        job = claimed_job(id=job_id or ids.new_id(), stream=stream, lease_no=lease_no, **row)
        self.upstream.deltas = 3 if stream else 0
        self.flight.begin(job)
        return job

    def answer(self, job: Job) -> None:
        self.upstream.answers.setdefault(ids.encode(ids.JOB, job.id), asyncio.Event()).set()


@pytest.fixture
async def tower() -> Tower:
    return Tower()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_job_holds_its_slot_until_its_outcome_is_stored(tower: Tower) -> None:
    job = tower.begin()
    await settled()
    assert tower.flight.leases == {job.id: 1}
    tower.answer(job)
    await settled()
    [outcome] = tower.outcomes
    assert isinstance(outcome.move, Finish)
    assert outcome.move.status == "succeeded"
    assert (tower.slots.in_flight, tower.slots.bytes) == (1, 10)
    tower.flight.settle(tower.outcomes)
    assert (tower.slots.in_flight, tower.slots.bytes, tower.flight.leases) == (0, 0, {})
    assert tower.freed == 1


async def test_an_aborted_job_stores_nothing_and_frees_its_slot(tower: Tower) -> None:
    job = tower.begin()
    await settled()
    tower.flight.abort([job.id])
    await settled()
    assert tower.upstream.cancelled == 1
    assert tower.outcomes == []
    assert tower.slots.in_flight == 0
    assert tower.freed == 1


async def test_a_job_that_is_aborted_before_its_first_step_frees_its_slot(tower: Tower) -> None:
    job = tower.begin()
    tower.flight.abort([job.id])
    await settled()
    assert tower.slots.in_flight == 0
    assert tower.flight.leases == {}


async def test_only_the_named_lease_is_aborted(tower: Tower) -> None:
    job = tower.begin(lease_no=7)
    await settled()
    tower.flight.abort([job.id, ids.new_id()], {job.id: 6})
    await settled()
    assert tower.flight.leases == {job.id: 7}
    tower.flight.abort([job.id], {job.id: 7})
    await settled()
    assert tower.flight.leases == {}


async def test_a_job_may_come_back_under_a_new_lease_before_the_old_attempt_is_settled(tower: Tower) -> None:
    old = tower.begin(lease_no=1)
    await settled()
    tower.answer(old)
    await settled()
    tower.begin(lease_no=2, job_id=old.id)
    tower.flight.settle(tower.outcomes[:1])
    assert tower.flight.leases == {old.id: 2}
    await settled()
    tower.flight.settle(tower.outcomes[1:])
    assert tower.flight.leases == {}
    assert tower.slots.in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_what_still_runs_after_the_grace_is_handed_back(tower: Tower, stream: bool) -> None:
    tower.begin(stream=stream)
    await settled()
    landing = asyncio.create_task(tower.flight.land(0))
    await asyncio.sleep(0.01)
    await settled()
    [outcome] = tower.outcomes
    assert isinstance(outcome.move, Requeue)
    assert (outcome.move.outcome, outcome.move.reset) == ("handed_back", stream)
    assert bool(outcome.chunks) == stream
    tower.flight.settle(tower.outcomes)
    await landing


async def test_a_job_that_was_aborted_before_the_stop_is_not_handed_back(tower: Tower) -> None:
    job = tower.begin()
    await settled()
    tower.flight.abort([job.id])
    await tower.flight.land(0)
    assert tower.outcomes == []
    assert tower.slots.in_flight == 0


@pytest.mark.parametrize("how", ["abort", "land"])
async def test_an_attempt_that_is_over_is_not_lost_when_its_last_deltas_have_to_wait(tower: Tower, how: str) -> None:
    """Its deltas are on their way to a slow database when somebody cancels it: the guarded commit decides, not the moment."""
    job = tower.begin(stream=True)
    await settled()
    async with tower.writer._writing:
        tower.answer(job)
        await settled()
        assert tower.outcomes == []
        landing = None
        if how == "abort":
            tower.flight.abort([job.id])
        else:
            landing = asyncio.create_task(tower.flight.land(0))
            await asyncio.sleep(0.01)
        await settled()
    await settled()
    tower.flight.settle(tower.outcomes)
    assert tower.slots.in_flight == 0
    assert tower.flight.leases == {}
    if landing is not None:
        [outcome] = tower.outcomes
        assert isinstance(outcome.move, Finish)
        await landing


async def test_a_defect_in_a_provider_fails_its_own_job_only(tower: Tower) -> None:
    tower.upstream.error = KeyError("a defect")
    job = tower.begin()
    tower.answer(job)
    await settled()
    [outcome] = tower.outcomes
    assert isinstance(outcome.move, Requeue)
    assert outcome.move.reason == "internal_error"


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"cache_options": {"plan": {"look": True}}}, id="a plan of another version"),
        pytest.param({"key_id": ids.new_id()}, id="limits that cannot be asked"),
    ],
)
@pytest.mark.parametrize("attempts", [1, 5])
async def test_a_defect_beside_the_attempt_keeps_no_job_here_for_ever(
    tower: Tower, row: dict[str, Any], attempts: int
) -> None:
    """Its lease is renewed as long as the process lives, so nobody else would ever take it."""
    tower.begin(attempts=attempts, **row)
    await settled()
    [outcome] = tower.outcomes
    if attempts == 1:
        assert isinstance(outcome.move, Requeue)
        assert outcome.move.reason == "internal_error"
    else:
        assert isinstance(outcome.move, Finish)
        assert outcome.move.status == "failed"
    tower.flight.settle(tower.outcomes)
    assert tower.slots.in_flight == 0
    assert tower.flight.leases == {}
