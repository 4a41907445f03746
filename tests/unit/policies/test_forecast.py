import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.forecast import Ask, Budget, Choice, Entry, Habits, Plan, choose

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
NOW = MONDAY + timedelta(weeks=3)
ALL = Plan(least=0.0, soon=0.0)

moments = st.integers(0, 3 * 7 * 24 * 60 - 1).map(lambda minute: MONDAY + timedelta(minutes=minute))
asks = st.lists(st.builds(Ask, st.sampled_from("abcd"), moments), max_size=40)
entries = st.lists(
    st.builds(
        Entry,
        name=st.sampled_from("abcdef"),
        latency_s=st.floats(0, 60),
        cost_usd=st.none() | st.decimals(0, 1, places=4),
        tokens=st.integers(0, 10_000),
        fresh_until=st.none() | st.integers(-5, 5).map(lambda hours: NOW + timedelta(hours=hours)),
    ),
    max_size=6,
    unique_by=lambda entry: entry.name,
)
budgets = st.builds(
    Budget,
    max_jobs=st.none() | st.integers(0, 5),
    max_tokens=st.none() | st.integers(0, 30_000),
    max_cost_usd=st.none() | st.decimals(0, 2, places=3),
)


def at(day: int, hour: int, minute: int = 30, week: int = 0) -> datetime:
    return MONDAY + timedelta(weeks=week, days=day, hours=hour, minutes=minute)


def habits(*moments_: datetime, entry: str = "a") -> Habits:
    # Somebody asked for something in the first hour: since then it is watched.
    return Habits(UTC, [Ask("other", MONDAY), *(Ask(entry, moment) for moment in moments_)])


def names(choices: Sequence[Choice]) -> list[str]:
    return [choice.entry.name for choice in choices]


@given(asks, moments, st.integers(-60, 60 * 48))
def test_a_probability_is_one(asked: list[Ask], start: datetime, minutes: int) -> None:
    known = Habits(UTC, asked)
    assert all(0 <= known.probability(entry, start, timedelta(minutes=minutes)) <= 1 for entry in "abcde")


@given(asks, st.randoms(use_true_random=False), moments)
def test_the_order_in_which_asks_are_learned_does_not_matter(
    asked: list[Ask], rng: random.Random, start: datetime
) -> None:
    shuffled = rng.sample(asked, len(asked))
    one, other = Habits(UTC, asked), Habits(UTC)
    for ask in shuffled:
        other.learn(ask)
    assert all(one.probability(entry, start) == other.probability(entry, start) for entry in "abcd")


@given(asks, moments)
def test_an_ask_in_that_hour_a_week_ago_makes_it_no_less_likely(asked: list[Ask], moment: datetime) -> None:
    later = moment + timedelta(weeks=1)
    before = Habits(UTC, [Ask("other", MONDAY), *asked])
    after = Habits(UTC, [Ask("other", MONDAY), *asked, Ask("a", moment)])
    assert after.probability("a", later) >= before.probability("a", later)
    assert after.probability("b", later) == before.probability("b", later)


@given(asks, moments)
def test_what_comes_later_does_not_matter(asked: list[Ask], start: datetime) -> None:
    hour = start.replace(minute=0)
    past = [ask for ask in asked if ask.at < hour]
    known = Habits(UTC, [Ask("other", MONDAY), *asked])
    assert known.probability("a", start) == Habits(UTC, [Ask("other", MONDAY), *past]).probability("a", start)


@given(asks, st.integers(1, 5), moments)
def test_habits_move_with_the_calendar(asked: list[Ask], weeks: int, start: datetime) -> None:
    shift = timedelta(weeks=weeks)
    moved = Habits(UTC, [replace(ask, at=ask.at + shift) for ask in asked])
    assert moved.probability("a", start + shift) == Habits(UTC, asked).probability("a", start)


def test_a_weekly_habit_is_expected_at_its_hour_only() -> None:
    known = habits(*(at(0, 8, week=week) for week in range(3)))
    assert known.probability("a", NOW + timedelta(hours=8)) > 0.7
    assert known.probability("a", NOW + timedelta(hours=11)) == 0
    assert known.probability("a", NOW + timedelta(days=1, hours=8)) < 0.3
    assert known.probability("b", NOW + timedelta(hours=8)) == 0


def test_a_habit_of_working_days_is_expected_on_working_days() -> None:
    known = habits(*(at(day, 8) for day in range(5)))
    for day in range(7, 12):
        assert known.probability("a", at(day, 8, 0)) > 0.5
    for day in (12, 13):
        assert known.probability("a", at(day, 8, 0)) == 0


def test_after_one_missed_day_a_daily_habit_is_still_expected() -> None:
    known = habits(*(at(day, 8, week=week) for week in range(3) for day in range(5) if (week, day) != (2, 0)))
    assert known.probability("a", NOW + timedelta(hours=8)) > 0.6


def test_one_ask_is_no_habit_yet() -> None:
    assert habits(at(0, 8)).probability("a", at(1, 8)) < 1
    assert habits(at(0, 8), *()).probability("a", at(7, 8)) < 0.9
    assert habits(at(0, 8, week=1)).probability("a", at(14, 8)) < habits(at(0, 8), at(0, 8, week=1)).probability(
        "a", at(14, 8)
    )


def test_newer_weeks_count_more_than_older_ones() -> None:
    given_up = habits(at(0, 8, week=0), at(0, 8, week=1))
    taken_up = habits(at(0, 8, week=1), at(0, 8, week=2))
    assert taken_up.probability("a", NOW + timedelta(hours=8)) > given_up.probability("a", NOW + timedelta(hours=8))


def test_an_ask_in_the_hour_beside_counts_a_little() -> None:
    late, on_time = (habits(*(at(0, hour, week=week) for week in range(3))) for hour in (9, 8))
    assert 0 < late.probability("a", at(21, 8, 0)) < on_time.probability("a", at(21, 8, 0))


def test_a_longer_time_is_no_less_likely_to_hold_an_ask() -> None:
    known = habits(*(at(day, day + 6) for day in range(5)))
    chances = [known.probability("a", at(7, 5, 0), timedelta(hours=hours)) for hours in range(2, 24)]
    assert all(one <= other for one, other in itertools.pairwise(chances))


def test_many_asks_in_an_hour_are_one_habit() -> None:
    once = habits(*(at(day, 8) for day in range(5)))
    often = habits(*(at(day, 8, minute) for day in range(5) for minute in range(0, 60, 5)))
    assert often.probability("a", at(7, 8)) == once.probability("a", at(7, 8))


def test_summer_time_does_not_shift_habits() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    days = [datetime(2026, 3, day, 8, 30, tzinfo=berlin) for day in (16, 17, 18, 19, 20, 23, 24, 25, 26, 27)]
    known = Habits(berlin, [Ask("a", day.astimezone(UTC)) for day in days])
    # The clocks were set forward on 29 March.
    assert known.probability("a", datetime(2026, 3, 30, 8, tzinfo=berlin)) > 0.7
    assert known.probability("a", datetime(2026, 3, 30, 9, tzinfo=berlin)) < 0.5


@given(asks, moments, st.integers(1, 5))
def test_asks_may_be_learned_one_by_one_or_together(asked: list[Ask], start: datetime, times: int) -> None:
    one, together = Habits(UTC, asked * times), Habits(UTC)
    for ask in asked:
        together.learn(ask, times)
    for entry in "abcd":
        assert one.probability(entry, start) == together.probability(entry, start)
        assert one.told(entry, start) == together.told(entry, start)


def test_days_without_any_ask_are_watched_too_from_the_time_that_is_named() -> None:
    ask = Ask("a", at(4, 8))
    known, watched = Habits(UTC, [ask]), Habits(UTC, [ask], since=MONDAY)
    assert watched.probability("a", at(7, 8)) < known.probability("a", at(7, 8))
    assert Habits(UTC, [ask], since=at(5, 8)).probability("a", at(7, 8)) == known.probability("a", at(7, 8))


def test_a_half_life_is_above_zero() -> None:
    with pytest.raises(ValueError, match="half-life"):
        Habits(UTC, half_life_weeks=0)


@given(asks, entries, budgets)
def test_what_is_chosen_stays_within_the_budget(asked: list[Ask], given_: list[Entry], budget: Budget) -> None:
    chosen = choose(given_, Habits(UTC, asked), budget, NOW, ALL)
    assert budget.max_jobs is None or len(chosen) <= budget.max_jobs
    assert budget.max_tokens is None or sum(choice.entry.tokens for choice in chosen) <= budget.max_tokens
    costs = [choice.entry.cost_usd for choice in chosen if choice.entry.cost_usd is not None]
    assert budget.max_cost_usd is None or sum(costs, Decimal(0)) <= budget.max_cost_usd


@given(asks, entries, budgets)
def test_the_most_valuable_come_first_and_each_at_most_once(
    asked: list[Ask], given_: list[Entry], budget: Budget
) -> None:
    chosen = choose(given_, Habits(UTC, asked), budget, NOW, ALL)
    values = [choice.value for choice in chosen]
    assert values == sorted(values, reverse=True)
    assert len(set(names(chosen))) == len(chosen)
    assert {choice.entry for choice in chosen} <= set(given_)


@given(asks, entries, budgets, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    asked: list[Ask], given_: list[Entry], budget: Budget, rng: random.Random
) -> None:
    known = Habits(UTC, asked)
    assert choose(rng.sample(given_, len(given_)), known, budget, NOW) == choose(given_, known, budget, NOW)


@given(asks, entries, st.floats(0, 1))
def test_only_what_is_likely_and_not_fresh_until_the_next_run_is_chosen(
    asked: list[Ask], given_: list[Entry], least: float
) -> None:
    plan = replace(ALL, least=least)
    for choice in choose(given_, Habits(UTC, asked), Budget(), NOW, plan):
        assert choice.probability >= least
        assert choice.entry.fresh_until is None or choice.entry.fresh_until < NOW + plan.every


@given(asks, entries, st.integers(0, 5))
def test_a_larger_budget_of_jobs_takes_the_same_and_more(asked: list[Ask], given_: list[Entry], jobs: int) -> None:
    known = Habits(UTC, asked)
    fewer, more = (choose(given_, known, Budget(max_jobs=most), NOW, ALL) for most in (jobs, jobs + 1))
    assert more[: len(fewer)] == fewer


KNOWN = Habits(
    UTC,
    [
        Ask("other", MONDAY),
        *(Ask(name, at(day, 8, week=week)) for name in "abc" for week in range(3) for day in range(5)),
    ],
)
EIGHT = NOW + timedelta(hours=8)


def test_value_is_saved_time_by_cost() -> None:
    slow, cheap, dear = (
        Entry(name, latency, Decimal(cost))
        for name, latency, cost in (("a", 9, "0.01"), ("b", 3, "0.001"), ("c", 3, "0.01"))
    )
    assert names(choose([slow, cheap, dear], KNOWN, Budget(), EIGHT)) == ["b", "a", "c"]
    assert names(choose([slow, cheap, dear], KNOWN, Budget(max_cost_usd=Decimal("0.011")), EIGHT)) == ["b", "a"]
    chosen = choose([slow], KNOWN, Budget(), EIGHT)[0]
    assert chosen.value == pytest.approx(9 * chosen.probability / 0.01)


def test_what_does_not_fit_makes_way_for_what_does() -> None:
    large, small = Entry("a", 9, Decimal("0.01"), tokens=900), Entry("b", 1, Decimal("0.01"), tokens=100)
    assert names(choose([large, small], KNOWN, Budget(max_tokens=500), EIGHT)) == ["b"]


def test_an_unknown_cost_is_guessed_from_tokens() -> None:
    unknown = Entry("a", 1, None, tokens=1_000_000)
    assert choose([unknown], KNOWN, Budget(max_cost_usd=Decimal("0.99")), EIGHT) == []
    assert names(choose([unknown], KNOWN, Budget(max_cost_usd=Decimal(1)), EIGHT)) == ["a"]


def test_what_is_asked_for_later_waits_for_a_later_run() -> None:
    plan = Plan(every=timedelta(hours=1), keeps=timedelta(hours=3))
    entry = Entry("a", 1, Decimal("0.01"))
    runs = [hour for hour in range(24) if choose([entry], KNOWN, Budget(), NOW + timedelta(hours=hour), plan)]
    assert runs == [8]


def test_a_fresh_entry_is_renewed_only_for_the_time_after_it() -> None:
    until_nine = Entry("a", 1, Decimal("0.01"), fresh_until=NOW + timedelta(hours=8, minutes=59))
    expired = replace(until_nine, fresh_until=NOW + timedelta(hours=7))
    assert names(choose([expired], KNOWN, Budget(), EIGHT)) == ["a"]
    renewed = choose([replace(until_nine, fresh_until=NOW + timedelta(hours=9))], KNOWN, Budget(), EIGHT)
    assert renewed == []


def test_the_reason_is_told_in_words() -> None:
    entry = Entry("a", 2.1, Decimal("0.0004"))
    assert choose([entry], KNOWN, Budget(), EIGHT)[0].reason == (
        "asked for 3 times on Mondays and 15 times on all days around 08:00 in 3.0 weeks: 95% likely to be asked for, "
        "saves 2.1 s for $0.0004"
    )
    unknown = choose([replace(entry, cost_usd=None)], KNOWN, Budget(), EIGHT)[0]
    assert unknown.reason.endswith("saves 2.1 s at unknown cost")
