from collections import Counter

import pytest

from policies.likeness import THRESHOLDS
from training.similarity.evaluate import HERE, Judged, judge, read_pairs, report, score


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return judge(read_pairs())


def test_the_pairs_are_many_and_of_many_kinds() -> None:
    pairs = read_pairs()
    languages = Counter(pair.language for pair in pairs)
    assert len(pairs) >= 440
    assert 0.4 < sum(pair.same for pair in pairs) / len(pairs) < 0.5
    assert all(languages[language] >= 40 for language in ("en", "de", "es", "fr"))
    assert len({pair.kind for pair in pairs}) >= 12
    assert len({frozenset((pair.a, pair.b)) for pair in pairs}) == len(pairs)


def test_a_third_of_the_pairs_is_held_out() -> None:
    pairs = read_pairs()
    assert 0.28 < sum(pair.held_out for pair in pairs) / len(pairs) < 0.38


def test_the_goals_are_reached_on_all_pairs_and_on_those_held_out(judged: list[Judged]) -> None:
    threshold = THRESHOLDS["wordllama"]
    assert score(judged, threshold).reached
    assert score([each for each in judged if each.pair.held_out], threshold).reached


def test_the_report_is_that_of_these_pairs_and_this_guard(judged: list[Judged]) -> None:
    written = (HERE / "report.md").read_text(encoding="utf-8")
    assert written == report(judged, THRESHOLDS["wordllama"])
