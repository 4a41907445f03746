"""Which of a schedule's times count, which jobs a run has, and how many its budget allows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.schedules import (
    MOST_JOBS,
    PROBE,
    Budget,
    Matrix,
    Spent,
    allowance,
    combination,
    combinations,
    fill,
    firing,
    placeholders,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.one_of(st.text(max_size=12), st.integers(), st.booleans())
MATRICES = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=5, unique_by=repr), max_size=4)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


# --- times ---


def minutes_ago(*ages: float) -> list[datetime]:
    return [NOW - timedelta(minutes=age) for age in ages]


def test_a_time_that_has_just_come_is_kept() -> None:
    [due] = minutes_ago(0.01)
    what = firing(due, [due], NOW)
    assert (what.run, what.slot, what.trigger, what.missed) == (True, due, "cron", 0)


def test_times_missed_within_an_hour_get_one_run_together() -> None:
    recent = minutes_ago(40, 25, 10)
    what = firing(recent[0], recent, NOW)
    assert (what.run, what.slot, what.trigger, what.missed) == (True, recent[-1], "catch_up", 2)


def test_a_time_missed_by_more_than_an_hour_gets_none() -> None:
    [due] = minutes_ago(61)
    assert not firing(due, [], NOW).run


def test_what_was_missed_long_ago_does_not_keep_a_later_time_from_its_run() -> None:
    due, slot = minutes_ago(10_000, 0.1)
    what = firing(due, [slot], NOW)
    assert (what.run, what.slot, what.trigger, what.missed) == (True, slot, "cron", 1)


@given(st.lists(st.floats(0, 60), max_size=60), st.floats(0, 100_000))
def test_however_much_was_missed_there_is_never_more_than_one_run(ages: list[float], older: float) -> None:
    recent = sorted(minutes_ago(*ages))
    due = min([*recent, NOW - timedelta(minutes=older)]) if older > 60 or not recent else recent[0]
    what = firing(due, recent, NOW)
    assert what.run == bool(recent)
    assert what.slot == (recent[-1] if recent else due)


# --- jobs ---


@given(MATRICES)
def test_every_combination_comes_once(matrix: dict[str, list[Any]]) -> None:
    found = [combination(matrix, index) for index in range(combinations(matrix))]
    assert len({repr(values) for values in found}) == len(found)
    assert all(list(values) == list(matrix) for values in found)
    assert all(values[name] in matrix[name] for values in found for name in matrix)


def test_the_last_member_changes_fastest() -> None:
    matrix: Matrix = {"segment": ["a", "b"], "category": [1, 2, 3]}
    found = [tuple(combination(matrix, index).values()) for index in range(6)]
    assert found == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    with pytest.raises(IndexError):
        combination(matrix, 6)


def test_without_a_matrix_there_is_one_job() -> None:
    assert combinations(None) == combinations({}) == 1
    assert combination(None, 0) == {}


@given(JSON)
def test_a_template_without_placeholders_stays_as_it_is(template: Any) -> None:
    if not placeholders(template):
        assert fill(template, {"name": "value"}) == template


@given(JSON, NAMES, st.text(max_size=20))
def test_after_filling_no_placeholder_of_the_matrix_is_left(template: Any, name: str, value: str) -> None:
    whole = {"a": [template, f"x {{{{{name}}}}} y", f"{{{{ {name} }}}}"]}
    filled = fill(whole, {name: value})
    assert filled["a"][1:] == [f"x {value} y", value]
    if not placeholders(value):
        assert name not in placeholders(filled)


def test_a_placeholder_alone_keeps_the_type_of_its_value() -> None:
    template = {"max_tokens": "{{n}}", "text": "{{n}} of {{flag}}, {{word}}", "plain": 3, "{{n}}": None}
    filled = fill(template, {"n": 5, "flag": True, "word": "so"})
    assert filled == {"max_tokens": 5, "text": "5 of true, so", "plain": 3, "{{n}}": None}


def test_values_are_not_filled_again() -> None:
    assert fill("{{a}}{{b}}", {"a": "{{b}}", "b": "!"}) == "{{b}}!"
    assert fill("{{a}}", {"a": "{{b}}", "b": "!"}) == "{{b}}"


def test_braces_that_hold_no_name_are_text() -> None:
    template = "{{ user.name }} {{#each}} {{}} {{1st}} {a} }}{{"
    assert placeholders(template) == {}
    assert fill(template, {"user": "x"}) == template


def test_placeholders_are_found_where_they_stand() -> None:
    template = {"body": {"messages": [{"content": "Hi {{who}}"}, {"content": "{{who}} {{what}}"}], "a/b": "{{c}}"}}
    assert placeholders(template) == {
        "who": "/body/messages/0/content",
        "what": "/body/messages/1/content",
        "c": "/body/a~1b",
    }


# --- budgets ---


def test_without_a_budget_everything_goes() -> None:
    assert allowance(Budget(), Spent(5000), 0, None).jobs == MOST_JOBS


def test_max_jobs_stops_exactly_there() -> None:
    assert allowance(Budget(max_jobs=10), Spent(submitted=7), 0, None).jobs == 3
    assert allowance(Budget(max_jobs=10), Spent(submitted=10), 0, None).stopped_by == "max_jobs"


def test_a_spent_budget_stops_for_good() -> None:
    told = allowance(Budget(max_tokens=100), Spent(3, 0, tokens=100, most_tokens=50), 10, None)
    assert (told.jobs, told.stopped_by) == (0, "max_tokens")
    told = allowance(Budget(max_cost_usd=1), Spent(3, 2, cost_usd=1.01, most_cost_usd=0.5), 10, 0.1)
    assert (told.jobs, told.stopped_by) == (0, "max_cost_usd")


def test_before_anything_is_known_few_jobs_are_tried() -> None:
    assert 1 <= allowance(Budget(max_tokens=10**9), Spent(), 10, None).jobs <= 8
    assert allowance(Budget(max_tokens=10), Spent(), 1000, None).jobs == 1
    assert allowance(Budget(max_cost_usd=1), Spent(), 1000, None).jobs >= 1


def spend(limit: int, costs: list[int], expected: int, random: Any) -> int:
    """Run jobs under a budget of tokens, which end in any order; what they used together."""
    going: list[int] = []
    used: list[int] = []
    submitted = 0
    for _ in range(10 * len(costs) + 10):
        spent = Spent(submitted, len(going), sum(used), max(used, default=0))
        told = allowance(Budget(max_tokens=limit), spent, expected, None)
        if told.stopped_by or (submitted == len(costs) and not going):
            return sum(used) + sum(going)
        fresh = costs[submitted : submitted + told.jobs]
        submitted += len(fresh)
        going += fresh
        assert going, "a run that waits for nothing"
        used += [going.pop(random.randrange(len(going))) for _ in range(random.randint(1, len(going)))]
    raise AssertionError("never came to an end")


LIMITS = st.integers(1, 20_000)
EXPECTED = st.integers(1, 2000)


@given(LIMITS, st.lists(st.integers(0, 500), min_size=1, max_size=300), EXPECTED, st.randoms())
def test_a_run_under_a_budget_always_comes_to_an_end(limit: int, costs: list[int], expected: int, random: Any) -> None:
    assert spend(limit, costs, expected, random) <= sum(costs)


@given(LIMITS, st.integers(1, 500), st.integers(1, 300), EXPECTED, st.randoms())
def test_a_budget_is_used_up_and_gone_over_by_the_first_few_jobs_at_most(
    limit: int, cost: int, jobs: int, expected: int, random: Any
) -> None:
    used = spend(limit, [cost] * jobs, expected, random)
    assert min(limit, jobs * cost) <= used < limit + PROBE * cost
