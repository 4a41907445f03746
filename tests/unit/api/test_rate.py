"""The sliding minute: never more than the limit in any sixty seconds, and never stuck."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from api.rate import LocalWindow

KEY, OTHER = UUID(int=1), UUID(int=2)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=60))
def test_no_sixty_seconds_hold_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    clock = Clock()
    window = LocalWindow(clock)
    accepted: list[float] = []
    for pause in pauses:
        clock.now += pause
        verdict = window.count(KEY, limit)
        if verdict.accepted:
            accepted.append(clock.now)
            assert 0 <= verdict.remaining < limit
        recent = [moment for moment in accepted if moment > clock.now - 60]
        assert len(recent) <= limit


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=30))
def test_who_waits_as_long_as_told_is_let_in(limit: int, pauses: list[float]) -> None:
    clock = Clock()
    window = LocalWindow(clock)
    for pause in pauses:
        clock.now += pause
        verdict = window.count(KEY, limit)
        if not verdict.accepted:
            assert 0 < verdict.retry_s <= 61
            clock.now += verdict.retry_s + 1e-6
            assert window.count(KEY, limit).accepted


def test_keys_do_not_share_their_allowance() -> None:
    window = LocalWindow(Clock())
    assert window.count(KEY, 1).accepted
    assert not window.count(KEY, 1).accepted
    assert window.count(OTHER, 1).accepted
