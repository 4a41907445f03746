"""The claimer of one lane, against a queue that is a list."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from core.store.work import Room
from tests.support.jobs import claimed_row
from tests.support.waiting import eventually
from workers.engine.claims import LaneClaimer
from workers.engine.job import Job
from workers.engine.slots import Slots

TENANT, OTHER = UUID(int=1), UUID(int=2)
LIMITS = {"m": 1000}


def row(tenant: UUID = TENANT, model: str = "m") -> Any:
    return claimed_row(tenant_id=tenant, model=model)


class Desk:
    """A lane's claimer with its queue, its running jobs and what it rang."""

    def __init__(
        self,
        *,
        most: int = 8,
        claim_limit: int = 4,
        limits: dict[str, int] | None = None,
        lanes: tuple[str, ...] = ("default",),
        reserved: int = 0,
    ) -> None:
        self.queue: deque[Any] = deque()
        self.running: deque[Job] = deque()
        self.rooms: list[Room] = []
        self.rung = 0
        self.short: list[str] = []
        self.error: Exception | None = None
        self.again: list[str] = []
        self.limits = limits or LIMITS
        self.slots = Slots(lanes, most=most, reserved=reserved, body_bytes=10_000, claim_limit=claim_limit)
        self.claimer = LaneClaimer(
            "default",
            self.slots,
            free=self._free,
            short=self.short.extend,
            again=self._again,
            claim=self._claim,
            start=self._start,
            ring=self._ring,
        )

    def _free(self) -> dict[str, int]:
        held = [job.model for job in self.running]
        return {model: limit - held.count(model) for model, limit in self.limits.items()}

    async def _claim(self, lane: str, room: Room) -> Sequence[Any]:
        assert lane == "default"
        self.rooms.append(room)
        if not room.models:
            # As the statement's own guard does: not a moment for anybody else.
            return []
        await asyncio.sleep(0)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        left = dict(room.models)
        taken: list[Any] = []
        for waiting in list(self.queue):
            if len(taken) < room.most and left.get(waiting.model, 0) and waiting.tenant_id not in room.full_tenants:
                left[waiting.model] -= 1
                taken.append(waiting)
                self.queue.remove(waiting)
        return taken

    def _start(self, job: Job) -> None:
        self.slots.take(job.lane, job.tenant_id, job.body_bytes)
        self.running.append(job)

    def _ring(self, lane: str) -> None:
        self.rung += 1

    def _again(self, lane: str) -> None:
        self.again.append(lane)
        assert len(self.again) < 100, "it wakes itself for ever"
        self.claimer.wake()

    def finish(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.running))):
            job = self.running.popleft()
            self.slots.give_back(job.lane, job.tenant_id, job.body_bytes)
            self.claimer.slot_freed()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Desk"]:
        task = asyncio.create_task(self.claimer.run())
        yield self
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settled() -> None:
    """Let everything that can go on now go on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_doorbell_tells_what_was_claimed() -> None:
    async with Desk().open() as desk:
        desk.queue.extend(row() for _ in range(3))
        report = await desk.claimer.claim_now()
        assert (report.lane, report.size, len(report.jobs)) == ("default", 3, 3)
        assert [job.batch_size for job in desk.running] == [3, 3, 3]
        assert (await desk.claimer.claim_now()).size == 0


async def test_a_claim_that_came_back_full_looks_again_and_rings_for_others() -> None:
    async with Desk().open() as desk:
        desk.queue.extend(row() for _ in range(7))
        desk.claimer.wake()
        await settled()
        assert len(desk.running) == 7
        assert desk.rung == 1


async def test_a_doorbell_without_a_free_slot_is_answered_at_once_and_remembered() -> None:
    async with Desk(most=2).open() as desk:
        desk.queue.extend(row() for _ in range(2))
        await desk.claimer.claim_now()
        desk.queue.append(row())
        assert (await desk.claimer.claim_now()).note == "no free slot"
        desk.finish()
        await settled()
        assert not desk.queue


async def test_a_saturated_model_is_claimed_again_when_a_slot_of_it_comes_free() -> None:
    async with Desk(limits={"m": 1, "other": 5}).open() as desk:
        desk.queue.extend([row(), row()])
        desk.claimer.wake()
        await settled()
        assert len(desk.running) == 1
        desk.finish()
        await settled()
        assert len(desk.running) == 1
        assert not desk.queue


async def test_a_lane_that_finds_all_room_promised_to_another_ones_claim_waits_for_its_end() -> None:
    async with Desk(limits={"m": 1}, lanes=("default", "bulk")).open() as desk:
        desk.queue.append(row())
        with desk.slots.promise(desk.slots.room("bulk", {"m": 1}), lambda _: desk.claimer.wake()):
            desk.claimer.wake()
            await settled()
            assert (desk.again, len(desk.rooms), len(desk.running)) == ([], 1, 0)
        await settled()
        assert len(desk.running) == 1


async def test_a_lane_refills_its_reserved_slots_one_by_one_while_another_lane_holds_the_rest() -> None:
    async with Desk(most=64, claim_limit=64, lanes=("default", "bulk"), reserved=4).open() as desk:
        for _ in range(60):
            desk.slots.take("bulk", OTHER, 1)
        desk.queue.extend(row() for _ in range(20))
        desk.claimer.wake()
        await settled()
        assert len(desk.running) == 4
        for left in range(15, 11, -1):
            desk.finish()
            await settled()
            assert (len(desk.running), len(desk.queue)) == (4, left)


async def test_a_full_lane_waits_for_a_few_slots_but_not_beyond_the_next_sweep() -> None:
    """A claim for every single slot would cost more than the jobs; a lane full of slow jobs must not wait for long either."""
    async with Desk(most=128, claim_limit=128).open() as desk:
        desk.queue.extend(row() for _ in range(200))
        desk.claimer.wake()
        await settled()
        claims = len(desk.rooms)
        desk.finish(2)
        await settled()
        assert (len(desk.rooms), len(desk.running)) == (claims, 126)
        desk.claimer.wake(insist=True)
        await settled()
        assert len(desk.running) == 128
        desk.finish(4)
        await settled()
        assert len(desk.running) == 128


async def test_a_database_that_is_away_is_asked_again() -> None:
    async with Desk().open() as desk:
        desk.error = ConnectionRefusedError()
        desk.queue.append(row())
        report = await desk.claimer.claim_now()
        assert report.note == "database not available"

        async def empty() -> bool:
            return not desk.queue

        await eventually(empty)


async def test_a_paused_claimer_takes_nothing() -> None:
    async with Desk().open() as desk:
        await desk.claimer.settle()
        desk.queue.append(row())
        assert (await desk.claimer.claim_now()).note == "stopping"
        desk.claimer.wake()
        await settled()
        assert len(desk.queue) == 1


async def test_a_claim_under_way_when_pausing_still_starts_its_jobs() -> None:
    async with Desk().open() as desk:
        desk.queue.append(row())
        desk.claimer.wake()
        for _ in range(5):
            await asyncio.sleep(0)
            if desk.rooms:
                break
        await desk.claimer.settle()
        assert len(desk.running) == 1


async def test_others_go_first_while_a_tenant_holds_its_full_share() -> None:
    async with Desk(most=8, claim_limit=8).open() as desk:
        desk.queue.extend(row() for _ in range(6))
        await desk.claimer.claim_now()
        desk.queue.extend([row(), row(), row(OTHER)])
        await desk.claimer.claim_now()
        assert [job.tenant_id for job in desk.running][6] == OTHER


async def test_a_tenant_that_is_alone_may_have_all_slots() -> None:
    async with Desk(most=8, claim_limit=8).open() as desk:
        desk.queue.extend(row() for _ in range(20))
        desk.claimer.wake()
        await settled()
        assert len(desk.running) == 8


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["come", "finish", "ring"]), st.integers(1, 30)), max_size=30),
    most=st.integers(1, 64),
    claim_limit=st.integers(1, 20),
    one_model=st.integers(1, 8),
)
def test_whatever_happens_every_job_is_started_in_the_end(
    steps: list[tuple[str, int]], most: int, claim_limit: int, one_model: int
) -> None:
    """No wake-up is ever lost: one doorbell after the last arrival and the finishing of jobs are enough."""

    async def work() -> None:
        async with Desk(most=most, claim_limit=claim_limit, limits={"m": 1000, "n": one_model}).open() as desk:
            for what, count in steps:
                if what == "come":
                    desk.queue.extend(row(model="mn"[n % 2], tenant=(TENANT, OTHER)[n % 3 == 0]) for n in range(count))
                elif what == "finish":
                    desk.finish(count)
                else:
                    desk.claimer.wake()
                await asyncio.sleep(0)
                assert len(desk.running) <= most
                assert sum(job.model == "n" for job in desk.running) <= one_model
            desk.claimer.wake()
            for _ in range(2000):
                await settled()
                if not desk.queue:
                    return
                assert desk.running, "jobs wait, nothing runs, and nobody claims"
                desk.finish()
            raise AssertionError("jobs still wait")

    asyncio.run(work())
