"""The limits of a process, under any mix of lanes, models and tenants."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.engine.slots import Slots

LANES = ("interactive", "default", "bulk", "prewarm")
MODELS = {"a": 3, "b": 50, "c": 0}
TENANTS = [UUID(int=n) for n in range(3)]


def slots(lanes: tuple[str, ...] = LANES, **changes: int) -> Slots:
    return Slots(lanes, **({"most": 64, "reserved": 4, "body_bytes": 1000, "claim_limit": 16} | changes))


def test_one_lane_leaves_the_reserved_slots_to_the_others() -> None:
    counted = slots()
    assert counted.free("bulk") == counted.capacity("bulk") == 64 - 3 * 4
    for _ in range(52):
        counted.take("bulk", TENANTS[0], 1)
    assert counted.free("bulk") == 0
    assert [counted.free(lane) for lane in ("interactive", "default", "prewarm")] == [4, 4, 4]


def test_a_lane_that_is_alone_has_all_slots() -> None:
    assert slots(("bulk",)).capacity("bulk") == 64


def test_a_claim_takes_no_more_than_its_limit() -> None:
    assert slots().room("default", MODELS).most == 16


def test_what_a_claim_under_way_may_bring_is_not_promised_twice() -> None:
    counted = slots()
    again: list[str] = []
    first = counted.room("bulk", MODELS)
    assert first.models == {"a": 3, "b": 50}
    with counted.promise(first, again.append):
        # The claim takes 16 jobs at most, so that is all that is kept for it of a model with more room.
        assert counted.room("default", MODELS).models == {"b": 34}
        assert again == []
    assert again == ["default"]
    with counted.promise(counted.room("default", MODELS), again.append):
        pass
    assert again == ["default"]


def test_a_lane_passed_over_is_woken_by_the_claim_that_it_waits_for_and_not_by_its_own() -> None:
    counted = slots()
    again: list[str] = []
    with counted.promise(counted.room("bulk", {"a": 3}), again.append):
        # One that gets nothing, and one that gets something else.
        with counted.promise(counted.room("default", {"a": 3}), again.append):
            pass
        with counted.promise(counted.room("interactive", {"a": 3, "b": 2}), again.append):
            pass
        assert again == []
    assert sorted(again) == ["default", "interactive"]


def test_a_lane_may_get_more_slots_of_its_own() -> None:
    counted = slots()
    counted.reserve({"interactive": 20})
    assert counted.capacity("bulk") == 64 - 20 - 4 - 4
    assert counted.capacity("interactive") == 64 - 3 * 4


def test_bodies_in_flight_bound_the_next_claim() -> None:
    counted = slots()
    counted.take("default", TENANTS[0], 400)
    assert counted.room("default", MODELS).body_bytes == 600
    counted.take("default", TENANTS[0], 5000)
    assert counted.room("default", MODELS).body_bytes == 0
    assert not counted.may_take("default")
    counted.give_back("default", TENANTS[0], 5000)
    assert counted.may_take("default")


def test_a_tenant_is_full_at_three_quarters_of_its_lane() -> None:
    counted = slots()
    for _ in range(38):
        counted.take("bulk", TENANTS[0], 1)
    assert counted.full_tenants("bulk") == frozenset()
    counted.take("bulk", TENANTS[0], 1)
    assert counted.full_tenants("bulk") == {TENANTS[0]}
    assert counted.full_tenants("default") == frozenset()
    assert counted.room("bulk", MODELS).full_tenants == {TENANTS[0]}
    counted.give_back("bulk", TENANTS[0], 1)
    assert counted.full_tenants("bulk") == frozenset()


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8])
def test_a_small_process_still_serves_every_lane(most: int) -> None:
    counted = slots(most=most, reserved=16)
    assert all(counted.free(lane) >= 1 for lane in LANES)


@given(
    most=st.integers(1, 5000),
    reserved=st.integers(0, 5000),
    lanes=st.lists(st.sampled_from(LANES), min_size=1, unique=True),
)
def test_reservations_never_leave_a_lane_without_a_slot(most: int, reserved: int, lanes: list[str]) -> None:
    counted = slots(tuple(lanes), most=most, reserved=reserved)
    for lane in lanes:
        assert 1 <= counted.capacity(lane) <= most
        assert counted.capacity(lane) >= most // 2


class Counting(RuleBasedStateMachine):
    """Jobs come as `room` allows and go in any order."""

    @initialize(
        most=st.integers(1, 40),
        reserved=st.integers(0, 20),
        lanes=st.lists(st.sampled_from(LANES), min_size=1, unique=True),
    )
    def begin(self, most: int, reserved: int, lanes: list[str]) -> None:
        self.slots = slots(tuple(lanes), most=most, reserved=reserved)
        self.jobs: list[tuple[str, UUID, int]] = []

    @rule(data=st.data(), wanted=st.integers(1, 20))
    def claim(self, data: st.DataObject, wanted: int) -> None:
        lane = data.draw(st.sampled_from(self.slots.lanes))
        room = self.slots.room(lane, MODELS)
        assert room.most >= 0
        left = dict(room.models)
        for _ in range(min(wanted, room.most)):
            open_models = sorted(model for model, free in left.items() if free > 0)
            if not open_models:
                break
            left[data.draw(st.sampled_from(open_models))] -= 1
            job = (lane, data.draw(st.sampled_from(TENANTS)), 7)
            self.slots.take(*job)
            self.jobs.append(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = self.jobs.pop(data.draw(st.integers(0, len(self.jobs) - 1)))
        self.slots.give_back(*job)

    @invariant()
    def limits_hold(self) -> None:
        if not hasattr(self, "slots"):
            return
        assert self.slots.in_flight == len(self.jobs) <= self.slots.most
        assert self.slots.bytes == 7 * len(self.jobs)
        for lane in self.slots.lanes:
            held = sum(job[0] == lane for job in self.jobs)
            # Whoever came first: a lane below its reservation always has room for the rest of it.
            assert self.slots.free(lane) >= min(self.slots.reserved[lane] - held, self.slots.most - len(self.jobs))
            assert self.slots.full_tenants(lane) <= {job[1] for job in self.jobs if job[0] == lane}


TestCounting = Counting.TestCase
