"""Latency classes: what is counted, and what follows from it."""

from datetime import timedelta

from core.telemetry.metrics import LANE_TARGETS
from tests.support.jobs import claimed_job
from workers.engine.job import Job
from workers.engine.lanes import LaneClasses
from workers.engine.slots import Slots


def job(lane: str, queued_s: float) -> Job:
    made = claimed_job(lane=lane)
    made.started_at = max(made.created_at, made.run_at) + timedelta(seconds=queued_s)
    return made


def counted(lane: str, result: str) -> float:
    value: float = LANE_TARGETS.labels(lane, result)._value.get()
    return value


def test_a_lane_whose_jobs_come_late_gets_slots_of_its_own_and_loses_them_again() -> None:
    slots = Slots(("interactive", "bulk"), most=100, reserved=4, body_bytes=1000, claim_limit=16)
    classes = LaneClasses(slots, lambda: {"interactive": 1.0})
    before = counted("interactive", "missed"), counted("interactive", "met")
    for _ in range(9):
        classes.ended(job("interactive", 5.0))
        classes.ended(job("bulk", 500.0))
    classes.ended(job("interactive", 0.0))
    assert (counted("interactive", "missed"), counted("interactive", "met")) == (before[0] + 9, before[1] + 1)
    classes.settle()
    assert slots.reserved == {"interactive": 8, "bulk": 4}
    for _ in range(9):
        classes.settle()
    assert slots.reserved == {"interactive": 4, "bulk": 4}
