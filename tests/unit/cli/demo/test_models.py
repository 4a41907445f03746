"""What the demo says of calls, costs and answers, and when it calls them wrong."""

from decimal import Decimal
from typing import Any

import pytest

from cli.demo.api import DemoFailed
from cli.demo.groups import Group, counts
from cli.demo.models import _compare, calls_told, cost_of
from cli.demo.scenery import Scenery
from cli.demo.show import Show


def answered(model: str, tier: str, total_ms: float, cost: str | None) -> dict[str, Any]:
    return {"route": {"deployment": model, "tier": tier}, "timing": {"total_ms": total_ms}, "cost_usd": cost}


def scenery() -> Scenery:
    """Enough for steps that only speak."""
    nothing: Any = None
    return Scenery(Show(), nothing, nothing, nothing, nothing, nothing)


LARGE = [answered("sim/large", "simple", 2000, "0.02"), *[answered("sim/large", "complex", 3000, "0.03")] * 2]


def test_calls_are_told_from_the_largest_to_the_smallest() -> None:
    tally = {"requests": 9, "batch_items": {"20": 1, "64": 7, "32": 1}}
    assert calls_told(tally) == "9 calls (7 × 64, 1 × 32, 1 × 20)"


def test_costs_are_added_exactly_and_an_unknown_one_fails_the_demo() -> None:
    jobs = [{"cost_usd": "0.1"}, {"cost_usd": "0.2"}]
    assert cost_of(jobs) == Decimal("0.3")
    with pytest.raises(DemoFailed, match="no cost"):
        cost_of([*jobs, {"cost_usd": None}])


def test_quicker_and_cheaper_answers_with_the_hard_ones_on_the_large_model_are_a_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _compare(scenery(), [answered("sim/nano", "simple", 500, "0.001"), *LARGE[1:]], LARGE)
    said = capsys.readouterr().out
    assert "on average 2.2 s instead of 2.7 s, for 0.0610 instead of 0.0800 USD" in said
    assert "the 2 hard ones still went to sim/large" in said


@pytest.mark.parametrize(
    ("auto", "why"),
    [
        (LARGE, "same model"),
        (
            [answered("sim/nano", "simple", 500, "0.001"), LARGE[1], answered("sim/nano", "simple", 500, "0.001")],
            "hard",
        ),
        ([answered("sim/nano", "simple", 9000, "0.001"), *LARGE[1:]], "slower or dearer"),
        ([answered("sim/nano", "simple", 500, "0.9"), *LARGE[1:]], "slower or dearer"),
    ],
)
def test_choosing_badly_fails_the_demo(auto: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(DemoFailed, match=why):
        _compare(scenery(), auto, LARGE)


def test_a_group_takes_from_its_acceptance_to_its_last_end() -> None:
    ended = {"created_at": "2026-11-20T08:00:00.500Z", "finished_at": "2026-11-20T08:00:02Z"}
    assert Group(ended, []).seconds == 1.5


def test_only_the_statuses_that_occur_are_told() -> None:
    assert counts({"counts": {"succeeded": 3, "failed": 0}}) == {"succeeded": 3}


def test_tables_put_words_to_the_left_and_numbers_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    Show().table(("model", "jobs"), [("sim/nano", "3"), ("a", "1,000")], left=1)
    assert capsys.readouterr().out.splitlines() == ["    model      jobs", "    sim/nano      3", "    a         1,000"]


def test_a_group_that_nobody_counts_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Show().counting("", 4) as update:
        update(4)
    assert capsys.readouterr().out == ""
