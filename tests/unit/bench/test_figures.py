import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Figure, Must, median, percentile, rate_between, shown

numbers = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(numbers, st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_its_share_of_the_values_does_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


@given(numbers)
def test_percentiles_rise_with_their_share(values: list[float]) -> None:
    assert min(values) <= percentile(values, 0.5) <= percentile(values, 0.99) <= percentile(values, 1) == max(values)


def test_nothing_measured_has_no_percentile_and_no_rate() -> None:
    assert math.isnan(median([]))
    assert math.isnan(rate_between(5.0, 5.0, 10))


def test_goals_include_their_bound() -> None:
    assert Must("≥", 3500).holds(3500)
    assert not Must("≥", 3500).holds(3499.9)
    assert Must("≤", 1.5).holds(1.5)
    assert not Must("≤", 1.5).holds(1.51)


@pytest.mark.parametrize("relation", ["≥", "≤"])
def test_what_could_not_be_measured_reaches_no_goal(relation: str) -> None:
    figure = Figure("drain", "jobs", math.nan, "/s", Must(relation, 1))  # type: ignore[arg-type]
    assert figure.passed is False


def test_a_figure_without_a_goal_neither_passes_nor_fails() -> None:
    assert Figure("drain", "jobs", 1, "/s").passed is None


def test_the_ratio_is_that_to_the_baseline_of_the_same_run() -> None:
    assert Figure("drain", "jobs", 1500, "/s", baseline=250).ratio == 6
    assert Figure("drain", "jobs", 1500, "/s").ratio is None
    assert Figure("drain", "jobs", 1500, "/s", baseline=0).ratio is None
    assert Figure("drain", "jobs", 1500, "/s", baseline=math.nan).ratio is None


def test_figures_become_strict_json() -> None:
    told = Figure("drain", "jobs", math.nan, "/s", Must("≥", 1300), 250.0).as_dict()
    assert json.loads(json.dumps(told, allow_nan=False))["value"] is None
    assert told["must"] == "≥ 1,300"
    assert told["passed"] is False


@pytest.mark.parametrize(
    ("value", "text"),
    [(3500, "3,500"), (1234.56, "1,235"), (345.67, "345.7"), (1.5, "1.50"), (4, "4"), (0.213, "0.21"), (math.nan, "–")],
)
def test_numbers_are_shown_as_long_as_they_are_trustworthy(value: float, text: str) -> None:
    assert shown(value) == text
