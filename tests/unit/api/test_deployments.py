"""One deployment out of what several workers report of it, whatever they leave out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.routes.deployments import deployment_as_json
from api.schemas.answers import Deployment as Shown
from core.catalog import load
from policies.catalog import Deployment
from tests.support.servers import REPOSITORY

DEPLOYMENT: Deployment = load(REPOSITORY / "catalog.toml", "http://127.0.0.1:9").deployments[0]


def told(*reports: Any) -> dict[str, Any]:
    return deployment_as_json(DEPLOYMENT, [{"deployments": {DEPLOYMENT.name: report}} for report in reports])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["calls", "errors", "ttft_ms", "p50", "in_flight", "breaker", "state", "limit", "cold_start_ms"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON, st.lists(JSON, max_size=3))
def test_no_report_breaks_the_answer(health: Any, reports: list[Any]) -> None:
    Shown.model_validate(told(*reports))
    Shown.model_validate(deployment_as_json(DEPLOYMENT, [{"deployments": health}, {}]))


def test_percentiles_of_several_workers_are_weighted_by_their_answers() -> None:
    one = {"calls": 4, "errors": 1, "in_flight": 0, "itl_ms": {"p50": 10.0, "p95": None}}
    other = {"calls": 1, "errors": 0, "in_flight": 0, "itl_ms": {"p50": 20.0}}
    assert told(one, other)["latency"]["itl_ms"] == {"p50": 12.5, "p95": None, "p99": None}


@pytest.mark.parametrize(
    ("reports", "health"),
    [
        ([], "unknown"),
        ([{"calls": 2, "in_flight": 2}], "unknown"),
        ([{"calls": 1}], "ok"),
        ([{"calls": 9, "errors": 2, "failing_in_a_row": 2}], "ok"),
        ([{"calls": 9, "errors": 3, "failing_in_a_row": 3}], "failing"),
        ([{"calls": 9, "errors": 3, "failing_in_a_row": 3}, {"calls": 5}], "ok"),
        (
            [{"calls": 2, "errors": 2, "failing_in_a_row": 2}, {"calls": 1, "errors": 1, "failing_in_a_row": 1}],
            "failing",
        ),
    ],
)
def test_a_deployment_is_failing_when_the_last_calls_of_all_its_callers_failed(reports: list[Any], health: str) -> None:
    assert told(*reports)["health"] == health


def test_the_most_careful_worker_says_how_the_breaker_stands() -> None:
    closed = {"breaker": {"state": "closed", "reason": None}}
    opened = {"breaker": {"state": "open", "reason": "5 failures in a row"}}
    assert told()["breaker"] is None
    assert told(closed, closed)["breaker"] == "closed"
    shown = told(closed, opened)
    assert (shown["breaker"], shown["breaker_reason"]) == ("open", "5 failures in a row")


def test_what_the_workers_may_use_is_added_up() -> None:
    shown = told({"limit": 10, "allotment": 4, "in_flight": 3}, {"limit": 10, "allotment": 6, "in_flight": 2})
    assert (shown["limit"], shown["allotted"], shown["in_flight"]) == (10, 10, 5)
