"""The measures of a call, with time at hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers import clock
from workers.providers.clock import Pace, paced_tokens
from workers.providers.protocol import Usage
from workers.providers.transport import ConnectTrace


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "perf_counter", time)
    return time


def test_a_stream_is_measured_from_its_first_token_to_its_last(time: Time) -> None:
    pace = Pace(100.0, ConnectTrace(12.5))
    for moment in (100.25, 100.35, 100.45, 101.25):
        time.now = moment
        pace.token()
    time.now = 101.5
    timing = pace.streamed(11)
    assert timing.connect_ms == 12.5
    assert timing.ttft_ms == pytest.approx(250)
    assert timing.itl_ms == pytest.approx(100)
    assert timing.tokens_per_s == pytest.approx(10)
    assert timing.upstream_ms == pytest.approx(1500)


def test_a_stream_in_one_piece_has_no_rate(time: Time) -> None:
    pace = Pace(100.0, ConnectTrace())
    time.now = 100.4
    pace.token()
    timing = pace.streamed(50)
    assert timing.ttft_ms == pytest.approx(400)
    assert (timing.connect_ms, timing.itl_ms, timing.tokens_per_s) == (None, None, None)


def test_a_stream_without_a_token_has_no_first_one(time: Time) -> None:
    assert Pace(100.0, ConnectTrace()).streamed(0).ttft_ms is None


def test_a_whole_answer_has_a_rate_over_all_its_time_and_no_first_token(time: Time) -> None:
    time.now = 102.0
    timing = Pace(100.0, ConnectTrace()).whole(Usage(5, 40, 0, 45))
    assert timing.tokens_per_s == pytest.approx(20)
    assert (timing.ttft_ms, timing.itl_ms) == (None, None)


def test_reasoning_that_was_not_shown_is_not_counted_into_the_rate() -> None:
    usage = Usage(10, 1050, 0, 1060, reasoning_tokens=1000)
    assert paced_tokens(usage, 48, reasoned=False) == 50
    assert paced_tokens(usage, 48, reasoned=True) == 1050


def test_pieces_are_counted_where_the_upstream_does_not_count() -> None:
    assert paced_tokens(None, 7, reasoned=False) == 7
    assert paced_tokens(Usage(3, 0, 0, 3), 7, reasoned=False) == 7


@given(st.lists(st.floats(0.001, 5), min_size=2, max_size=30))
def test_the_rate_and_the_gap_between_tokens_are_each_others_inverse(gaps: list[float]) -> None:
    time = Time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "perf_counter", time)
        pace = Pace(100.0, ConnectTrace())
        for gap in gaps:
            time.now += gap
            pace.token()
        timing = pace.streamed(len(gaps))
    assert timing.itl_ms is not None and timing.tokens_per_s is not None and timing.ttft_ms is not None
    assert timing.itl_ms * timing.tokens_per_s == pytest.approx(1000)
    assert timing.ttft_ms + timing.itl_ms * (len(gaps) - 1) == pytest.approx(sum(gaps) * 1000)
