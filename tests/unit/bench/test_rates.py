import math

import pytest

from bench.jobs import BODY_BYTES, Finishes, chat_body, job_requests
from bench.load.order import windows_of


def test_the_rate_of_finishes_leaves_out_those_of_the_first_moment() -> None:
    assert Finishes([(10.0, 64), (11.0, 100), (12.0, 100)]).rate() == 100


def test_the_rate_between_two_moments_counts_only_what_lies_between() -> None:
    finished = Finishes([(10.0, 64), (11.0, 100), (12.0, 100), (40.0, 5)])
    assert finished.rate(begin=10.5, end=12.5) == 100
    assert finished.rate(end=12.0) == 100


def test_no_finishes_have_no_rate() -> None:
    assert math.isnan(Finishes([]).rate())
    assert math.isnan(Finishes([(10.0, 5)]).rate())


def test_windows_are_equal_parts_of_the_time_after_the_warm_up() -> None:
    answered = [n / 100 for n in range(600)]
    assert windows_of(answered, 1.0, 6.0, 5) == pytest.approx([100.0] * 5)


def test_a_stall_shows_in_its_window() -> None:
    answered = [n / 100 for n in range(600) if not 200 <= n < 300]
    assert windows_of(answered, 1.0, 6.0, 5) == pytest.approx([100, 0, 100, 100, 100])


@pytest.mark.parametrize("latency_ms", [None, 0, 200.0])
def test_bodies_have_a_kilobyte_and_differ(latency_ms: float | None) -> None:
    requests = job_requests(50, latency_ms)
    assert len(set(requests)) == 50
    assert all(BODY_BYTES <= len(request) <= 1.2 * BODY_BYTES for request in requests)
    assert chat_body(7, latency_ms) == chat_body(7, latency_ms)
