"""What is measured of a deployment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.protocol import UpstreamTiming
from workers.routing.record import Record, percentile


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_and_splits_them(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value < found for value in values) <= share * len(values)


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_errors_count_and_an_answer_ends_a_bad_streak() -> None:
    record = Record()
    for _ in range(3):
        record.failed()
    assert record.shown()["failing_in_a_row"] == 3
    record.answered(UpstreamTiming(ttft_ms=5.0, upstream_ms=20.0))
    shown = record.shown()
    assert (shown["errors"], shown["failing_in_a_row"]) == (3, 0)
    assert shown["ttft_ms"] == {"p50": 5.0, "p95": 5.0, "p99": 5.0}
    assert shown["total_ms"]["p50"] == pytest.approx(20.0)
    assert shown["itl_ms"] == {"p50": None, "p95": None, "p99": None}


def test_only_calls_that_opened_a_connection_tell_what_a_cold_start_costs() -> None:
    record = Record()
    record.answered(UpstreamTiming(ttft_ms=5.0, upstream_ms=20.0))
    assert record.shown()["cold_start_ms"] is None
    record.answered(UpstreamTiming(connect_ms=30.0, ttft_ms=40.0, upstream_ms=60.0))
    assert record.shown()["cold_start_ms"] == 40.0


def test_percentiles_for_decisions_are_those_of_the_last_refresh() -> None:
    record = Record()
    record.answered(UpstreamTiming(ttft_ms=5.0, upstream_ms=20.0))
    before = (record.ttft_p95, record.total_p95)
    record.refresh()
    assert before == (None, None)
    assert (record.ttft_p95, record.total_p95, record.samples(stream=True)) == (5.0, 20.0, 1)
