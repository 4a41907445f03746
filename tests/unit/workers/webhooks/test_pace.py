from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from workers.webhooks.pace import Pace

TARGETS = [UUID(int=number) for number in range(3)]


@given(st.lists(st.tuples(st.sampled_from(TARGETS), st.booleans())), st.integers(1, 64))
def test_the_room_stays_between_one_and_the_limit(answers: list[tuple[UUID, bool]], limit: int) -> None:
    pace = Pace(limit)
    for target, accepted in answers:
        (pace.succeeded if accepted else pace.failed)(target)
    assert all(1 <= room < max(2, limit) for room in pace.slow.values())


def test_a_target_that_hangs_soon_has_one_slot_and_gets_all_back_when_it_answers() -> None:
    pace = Pace(32)
    for _ in range(5):
        pace.failed(TARGETS[0])
    assert pace.slow == {TARGETS[0]: 1}
    for _ in range(5):
        pace.succeeded(TARGETS[0])
    assert pace.slow == {}


def test_only_so_many_slow_targets_are_remembered() -> None:
    pace = Pace(32)
    for number in range(5000):
        pace.failed(UUID(int=number))
    assert len(pace.slow) <= 1000
    assert UUID(int=4999) in pace.slow
