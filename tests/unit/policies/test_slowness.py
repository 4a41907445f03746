"""How slow answers are against what such answers usually take."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.slowness import FIRST, Slowness, Verdict, kind_of, together


def seen(slowness: Slowness, now: float, times: list[float], kind: str = FIRST) -> Verdict | None:
    for ms in times:
        slowness.observe(now, kind, ms)
    return slowness.verdict(now)


def test_the_first_answers_are_what_is_usual() -> None:
    assert seen(Slowness(), 1.0, [100.0] * 5) == Verdict(1.0, 100.0, 5)


def test_few_answers_are_kept_until_there_are_enough() -> None:
    slowness = Slowness()
    assert seen(slowness, 1.0, [100.0] * 3) is None
    assert seen(slowness, 2.0, [100.0] * 2) == Verdict(1.0, 100.0, 5)
    assert slowness.verdict(3.0) is None


def test_a_few_of_long_ago_are_forgotten() -> None:
    slowness = Slowness()
    seen(slowness, 1.0, [100.0] * 4)
    slowness.verdict(20.0)
    assert seen(slowness, 20.0, [100.0] * 4) is None


def test_a_crowded_upstream_is_told_by_the_middle_of_its_answers() -> None:
    slowness = Slowness()
    seen(slowness, 1.0, [100.0] * 9)
    found = seen(slowness, 2.0, [400.0] * 5 + [90.0] * 3)
    assert found is not None
    assert found.times == pytest.approx(4, rel=0.02)


def test_one_that_is_slower_for_good_is_itself_again_after_some_minutes() -> None:
    slowness = Slowness()
    seen(slowness, 0.0, [100.0] * 9)
    found = None
    for second in range(1, 300):
        found = seen(slowness, float(second), [300.0] * 9)
    assert found is not None
    assert found.times == pytest.approx(1, rel=0.05)


def test_long_answers_are_not_slow_ones() -> None:
    """An upstream with a steady pace: 200 ms, and 8 for each token, whatever mix of lengths is asked of it."""
    slowness, rng, worst = Slowness(), random.Random(1), 0.0
    for tick in range(400):
        longer = tick // 100 % 2
        for _ in range(12):
            tokens = rng.choice([5, 40, 120, 900] if longer else [5, 8, 20, 40])
            asked = rng.choice([100, 8000] if longer else [100, 150])
            slowness.observe(tick / 4, kind_of(asked, tokens), 200 + asked / 20 + 8 * tokens)
        found = slowness.verdict(tick / 4)
        worst = max(worst, found.times if found else 0.0)
    assert 0 < worst < 1.5


def test_the_same_answers_at_a_third_of_the_pace_are_slow_in_any_mix() -> None:
    slowness, rng = Slowness(), random.Random(2)
    found = None
    for tick in range(200):
        pace = 3 if tick >= 160 else 1
        for _ in range(20):
            tokens = rng.choice([5, 40, 120, 900])
            slowness.observe(tick / 4, kind_of(100, tokens), pace * (200 + 8 * tokens))
        found = slowness.verdict(tick / 4)
    assert found is not None
    assert found.times > 2.5


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 10**7), st.integers(0, 10**6), st.floats(0, 1e7))))
def test_whatever_comes_the_memory_is_bounded_and_verdicts_are_sound(
    answers: list[tuple[float, int, int, float]],
) -> None:
    slowness, now = Slowness(), 0.0
    for pause, asked, said, ms in answers:
        now += pause
        slowness.observe(now, kind_of(asked, said), ms)
        found = slowness.verdict(now)
        assert found is None or (found.times >= 0 and found.answers >= 5)


def test_answers_that_nobody_asks_about_are_not_kept_for_ever() -> None:
    slowness = Slowness()
    for _ in range(50_000):
        slowness.observe(1.0, FIRST, 100.0)
    found = slowness.verdict(2.0)
    assert found is not None
    assert found.answers <= 1000


def test_kinds_beyond_the_bound_make_those_of_long_ago_unknown() -> None:
    slowness = Slowness()
    seen(slowness, 0.0, [100.0] * 5, "old")
    for kind in range(100):
        seen(slowness, 1.0, [100.0] * 5, str(kind))
    assert seen(slowness, 2.0, [900.0] * 5, "old") == Verdict(1.0, 900.0, 5)


@given(st.lists(st.builds(Verdict, st.floats(0.1, 50), st.floats(1, 1e5), st.integers(5, 500)), min_size=1))
def test_together_lies_between_the_extremes(verdicts: list[Verdict]) -> None:
    found = together(verdicts)
    assert found is not None
    assert min(one.times for one in verdicts) * 0.999 <= found.times <= max(one.times for one in verdicts) * 1.001
    assert found.answers == sum(one.answers for one in verdicts)


def test_nobody_saw_enough() -> None:
    assert together([]) is None
