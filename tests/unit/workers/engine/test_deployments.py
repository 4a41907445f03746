import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.deployments import DeploymentStats, percentile
from workers.providers.protocol import UpstreamTiming


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_and_splits_them(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value < found for value in values) <= share * len(values)


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_a_call_is_in_flight_until_it_ends() -> None:
    stats = DeploymentStats()
    stats.began("a")
    stats.began("a")
    stats.ended("a")
    assert stats.report()["a"]["in_flight"] == 1
    assert stats.report()["a"]["calls"] == 2


def test_errors_count_and_an_answer_ends_a_bad_streak() -> None:
    stats = DeploymentStats()
    for _ in range(3):
        stats.began("a")
        stats.failed("a")
        stats.ended("a")
    assert stats.report()["a"]["failing_in_a_row"] == 3
    stats.began("a")
    stats.answered("a", UpstreamTiming(ttft_ms=5.0, upstream_ms=20.0))
    stats.ended("a")
    report = stats.report()["a"]
    assert (report["errors"], report["failing_in_a_row"]) == (3, 0)
    assert report["ttft_ms"] == {"p50": 5.0, "p95": 5.0, "p99": 5.0}
    assert report["total_ms"]["p50"] == pytest.approx(20.0)
    assert report["itl_ms"] == {"p50": None, "p95": None, "p99": None}
