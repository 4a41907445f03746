"""The life of jobs as a state machine: whatever happens in whatever order, the store and a small model agree."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core import ids
from core.database import connect
from core.direct import Row
from core.lifecycle import MOVES, TERMINAL, Move, Status, may
from core.settings import Settings
from core.store.bulk import accept_group
from core.store.moves import cancel_jobs, delete_job, resubmit
from core.store.work import expire_late, let_in_due, lose_orphans
from tests.support.store import PUBLIC_URL, Process, Store, new_job

_TABLES = "jobs, attempts, job_events, groups, ready, waiting, running, processes, tenant_turns, tenants, api_keys"


@dataclass(frozen=True)
class Expected:
    """What the model knows of a job. `place` is the narrow table that it must stand in."""

    status: Status
    attempts: int
    lease_no: int
    max_attempts: int
    place: str | None
    started: bool = False
    group: UUID | None = None

    def moved(self, move: Move, place: str | None, **changes: Any) -> "Expected":
        assert may(move, self.status)
        return replace(self, status=MOVES[move][1], place=place, **changes)


class Jobs(RuleBasedStateMachine):
    """One tenant, up to a dozen jobs, two worker processes that may die, and a pile of stale leases."""

    database_url: str

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self.expected: dict[UUID, Expected] = {}
        self.held: dict[UUID, tuple[Process, Row]] = {}
        self.stale: list[tuple[Process, Row]] = []
        self.versions: dict[UUID, int] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def teardown(self) -> None:
        self.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self.store.sql(f"TRUNCATE {_TABLES} CASCADE")
        for engine in self.engines:
            await engine.dispose()

    @initialize()
    def begin(self) -> None:
        async def work() -> None:
            configured = Settings(database_url=self.database_url)
            roles = (None, "coatcheck_api", "coatcheck_worker")
            self.engines = [connect(configured, role, pool_size=2, name="test") for role in roles]  # type: ignore[arg-type]
            self.store = Store(*self.engines)
            self.tenant = await self.store.tenant()
            self.processes = [await self.store.process() for _ in range(2)]

        self.run(work())

    # --- what may happen ---

    @precondition(lambda self: len(self.expected) < 12)
    @rule(priority=st.integers(0, 9), max_attempts=st.integers(1, 3), stream=st.booleans(), grouped=st.booleans())
    def accept(self, priority: int, max_attempts: int, stream: bool, grouped: bool) -> None:
        job = new_job(self.tenant, priority=priority, max_attempts=max_attempts, stream=stream)
        if grouped:
            job.group_id = ids.new_id()
            self.run(accept_group(self.store.api, self.tenant, job.group_id, [job]))
        else:
            self.run(self.store.accept(job))
        self.expected[job.id] = Expected(Status.QUEUED, 0, 0, max_attempts, "ready", group=job.group_id)

    @rule(which=st.integers(0, 1), most=st.integers(1, 3))
    def claim(self, which: int, most: int) -> None:
        process = self.processes[which]
        rows = self.run(process.claim(most))
        ready = [job for job, known in self.expected.items() if known.place == "ready"]
        assert len(rows) == min(most, len(ready))
        for row in rows:
            known = self.expected[row.id]
            assert known.place == "ready"
            self.expected[row.id] = known.moved(
                Move.CLAIM, "running", attempts=known.attempts + 1, lease_no=known.lease_no + 1, started=True
            )
            assert (row.attempts, row.lease_no) == (known.attempts + 1, known.lease_no + 1)
            self.held[row.id] = (process, row)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), good=st.booleans())
    def finish(self, data: st.DataObject, good: bool) -> None:
        job, (process, row) = self._pick(data)
        committed = self.run(process.succeed(row) if good else process.fail(row))
        assert committed.finished == [job]
        self._left(job, Move.SUCCEED if good else Move.FAIL, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), delayed=st.booleans())
    def retry(self, data: st.DataObject, delayed: bool) -> None:
        job, (process, row) = self._pick(data)
        assert self.run(process.retry(row, delay_s=60.0 if delayed else 0.0)).requeued == [job]
        self._left(job, Move.RETRY, "waiting" if delayed else "ready")

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        job, (process, row) = self._pick(data)
        assert self.run(process.hand_back(row)).requeued == [job]
        self._left(job, Move.HAND_BACK, "ready", attempts=self.expected[job].attempts - 1)

    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        dead = self.processes[which]
        self.run(dead.die())
        self.run(lose_orphans(self.store.worker, PUBLIC_URL))
        for job, (process, _) in list(self.held.items()):
            if process is dead:
                known = self.expected[job]
                if known.attempts >= known.max_attempts:
                    self._left(job, Move.FAIL, None)
                else:
                    self._left(job, Move.LOSE, "ready")
        self.processes[which] = self.run(self.store.process())

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), what=st.sampled_from(["succeed", "fail", "retry", "hand_back"]))
    def act_on_a_lost_lease(self, data: st.DataObject, what: str) -> None:
        process, row = data.draw(st.sampled_from(self.stale))
        committed = self.run(getattr(process, what)(row))
        assert (committed.finished, committed.requeued) == ([], [])

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self._any(data)
        known = self.expected[job]
        cancelled = self.run(cancel_jobs(self.store.api, self.tenant, [job], PUBLIC_URL))
        assert cancelled.ended.jobs == ([job] if may(Move.CANCEL, known.status) else [])
        assert cancelled.running == ([job] if known.status is Status.RUNNING else [])
        if cancelled.ended.jobs:
            self._left(job, Move.CANCEL, None)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def run_out_of_time(self, data: st.DataObject) -> None:
        job = self._any(data)
        known = self.expected[job]
        if known.place == "ready" and not known.started:
            self.run(self.store.make_late(job))
        expired = self.run(expire_late(self.store.worker, PUBLIC_URL)).jobs
        assert expired == ([job] if known.place == "ready" and not known.started else [])
        if expired:
            self._left(job, Move.EXPIRE, None)

    @rule()
    def let_in(self) -> None:
        self.run(self.store.make_due())
        self.run(let_in_due(self.store.worker))
        for job, known in self.expected.items():
            if known.place == "waiting":
                self.expected[job] = replace(known, place="ready")

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def queue_again(self, data: st.DataObject) -> None:
        job = self._any(data)
        known = self.expected[job]
        lane = self.run(resubmit(self.store.api, self.tenant, job, PUBLIC_URL))
        assert (lane is not None) == may(Move.RESUBMIT, known.status)
        if lane is not None:
            most = max(known.max_attempts, known.attempts + 1)
            self.expected[job] = known.moved(Move.RESUBMIT, "ready", max_attempts=most, started=False)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job = self._any(data)
        gone = self.run(delete_job(self.store.api, self.tenant, job))
        assert gone == (self.expected[job].status in TERMINAL)
        if gone:
            del self.expected[job]

    # --- what must always hold ---

    @invariant()
    def the_store_agrees(self) -> None:
        if hasattr(self, "store"):
            self.run(self._compare())

    async def _compare(self) -> None:
        rows = {row.id: row for row in await self.store.rows("SELECT * FROM jobs")}
        assert set(rows) == set(self.expected)
        places = await self.store.rows(
            "SELECT job_id, 'ready' AS place FROM ready UNION ALL SELECT job_id, 'waiting' FROM waiting "
            "UNION ALL SELECT job_id, 'running' FROM running"
        )
        assert sorted((row.job_id, row.place) for row in places) == sorted(
            (job, known.place) for job, known in self.expected.items() if known.place
        )
        for job, known in self.expected.items():
            row = rows[job]
            assert (row.status, row.attempts, row.lease_no) == (known.status, known.attempts, known.lease_no)
            assert row.max_attempts == known.max_attempts
            assert row.version >= self.versions.get(job, 0)
            self.versions[job] = row.version
            assert row.status != "failed" or orjson.loads(row.error)["code"]
        await self._compare_attempts()
        await self._compare_events()
        groups = {row.id: row.remaining for row in await self.store.rows("SELECT id, remaining FROM groups")}
        for known in self.expected.values():
            if known.group is not None:
                assert groups[known.group] == (known.status not in TERMINAL)

    async def _compare_attempts(self) -> None:
        """Every lease has ended in exactly one attempt, but for the one that is held."""
        rows = await self.store.rows(
            "SELECT job_id, array_agg(lease_no ORDER BY lease_no) AS leases FROM attempts GROUP BY 1"
        )
        ended = {row.job_id: row.leases for row in rows}
        for job, known in self.expected.items():
            last = known.lease_no - (known.status is Status.RUNNING)
            assert ended.get(job, []) == list(range(1, last + 1))

    async def _compare_events(self) -> None:
        rows = await self.store.rows("SELECT job_id, seq, last_seq FROM job_events ORDER BY job_id, seq")
        last: dict[UUID, int] = {}
        for row in rows:
            assert row.seq > last.get(row.job_id, 1)
            last[row.job_id] = row.last_seq

    # --- helpers ---

    def _any(self, data: st.DataObject) -> UUID:
        job: UUID = data.draw(st.sampled_from(sorted(self.expected)))
        return job

    def _pick(self, data: st.DataObject) -> tuple[UUID, tuple[Process, Row]]:
        job = data.draw(st.sampled_from(sorted(self.held)))
        return job, self.held[job]

    def _left(self, job: UUID, move: Move, place: str | None, **changes: Any) -> None:
        self.expected[job] = self.expected[job].moved(move, place, **changes)
        if job in self.held:
            self.stale.append(self.held.pop(job))


def test_the_store_moves_jobs_as_the_table_of_moves_says(module_database_url: str) -> None:
    machine = type("JobsHere", (Jobs,), {"database_url": module_database_url})
    few = settings(
        max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    run_state_machine_as_test(machine, settings=few)
