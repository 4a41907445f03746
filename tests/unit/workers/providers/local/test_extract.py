from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.embedding import Embedder
from workers.providers.local.document import parse
from workers.providers.local.extract import NOTHING, Extract, key_points, summarize, trim
from workers.providers.local.instructions import Shape, Wish
from workers.providers.local.language import ENGLISH, FRENCH, GERMAN, SPANISH, detect

WORDS = st.sampled_from("river stone bridge flood the a old moves carries water slowly however it town".split())
SENTENCES = st.lists(WORDS, min_size=3, max_size=14).map(lambda words: " ".join(words).capitalize() + ".")
TEXTS = st.lists(SENTENCES, min_size=1, max_size=25).map(" ".join)
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def go_on() -> None:
    """Nobody cancels."""


def sentences_of(text: str) -> list[str]:
    return [sentence.text for sentence in parse(text).sentences]


def summary_of(text: str, embedder: Embedder, wish: Wish = Wish(), max_tokens: int | None = None) -> list[str]:  # noqa: B008
    return [piece.strip() for piece in summarize(text, wish, max_tokens, embedder, go_on).pieces]


def points_of(text: str, embedder: Embedder, wish: Wish = Wish(), max_tokens: int | None = None) -> list[str]:  # noqa: B008
    return key_points(text, wish, max_tokens, embedder, go_on).text.split("\n")


def assert_in_order(part: list[str], whole: list[str]) -> None:
    rest = iter(whole)
    assert all(any(sentence == other for other in rest) for sentence in part)


@relaxed
@given(text=TEXTS, count=st.integers(1, 8))
def test_a_summary_is_sentences_of_the_text_in_order(text: str, count: int, embedder: Embedder) -> None:
    summary = summary_of(text, embedder, Wish(count=count))
    assert 1 <= len(summary) <= count
    assert_in_order(summary, sentences_of(text))


@relaxed
@given(text=TEXTS, limit=st.integers(1, 80))
def test_the_token_limit_holds(text: str, limit: int, embedder: Embedder) -> None:
    for extract in (summarize(text, Wish(), limit, embedder, go_on), key_points(text, Wish(), limit, embedder, go_on)):
        assert embedder.count_tokens([extract.text]) <= limit


@relaxed
@given(text=st.text(max_size=300))
def test_any_text_gets_an_answer(text: str, embedder: Embedder) -> None:
    assert summarize(text, Wish(), None, embedder, go_on).text
    assert key_points(text, Wish(), None, embedder, go_on).text


def test_real_texts_are_summarised_in_their_own_sentences_and_order(example: str, embedder: Embedder) -> None:
    summary = summary_of(example, embedder)
    assert 3 <= len(summary) <= 7
    assert_in_order(summary, sentences_of(example))


def test_the_same_text_gets_the_same_answer(example: str, embedder: Embedder) -> None:
    assert summary_of(example, embedder) == summary_of(example, embedder)
    assert points_of(example, embedder) == points_of(example, embedder)


@pytest.mark.parametrize("count", [1, 3, 5, 10])
def test_as_many_sentences_or_points_as_asked_for(count: int, example: str, embedder: Embedder) -> None:
    assert len(summary_of(example, embedder, Wish(Shape.PARAGRAPH, count))) == count
    points = points_of(example, embedder, Wish(Shape.BULLETS, count))
    assert len(points) == count
    assert all(point.startswith("- ") for point in points)


def test_a_limit_in_words_is_kept_and_used(examples: dict[str, str], embedder: Embedder) -> None:
    words = len(" ".join(summary_of(examples["street-trees"], embedder, Wish(words=120))).split())
    assert 90 <= words <= 120


def test_nothing_is_said_twice(example: str, embedder: Embedder) -> None:
    doubled = f"{example}\n\n{example}"
    for parts in (summary_of(doubled, embedder), points_of(doubled, embedder)):
        words = [set(part.lower().split()) for part in parts]
        assert all(len(one & other) < 0.6 * len(one | other) for one, other in combinations(words, 2))


def test_a_summary_opens_with_the_opening_and_reaches_the_second_half(example: str, embedder: Embedder) -> None:
    whole = sentences_of(example)
    places = [whole.index(sentence) for sentence in summary_of(example, embedder)]
    assert places[0] < 3
    assert places[-1] >= len(whole) / 2


def test_key_points_cover_the_sections(examples: dict[str, str], embedder: Embedder) -> None:
    for name in ("street-trees", "time-in-software", "fluss", "heat-pumps"):
        document = parse(examples[name])
        section = {trim(s.text, detect(examples[name])): s.section for s in document.sentences}
        points = points_of(examples[name], embedder)
        sections = {section[point.removeprefix("- ")] for point in points}
        assert len(sections) >= min(len(document.headings) - 1, len(points)) * 0.6


def test_no_key_point_opens_with_a_connective_or_a_pronoun(example: str, embedder: Embedder) -> None:
    leaning = {"however,", "but", "and", "it", "they", "these", "aber", "sie", "es", "allerdings", "therefore,", "for"}
    assert not leaning & {point.split()[1].lower() for point in points_of(example, embedder)}


def test_the_root_cause_of_the_incident_is_in_its_summary(examples: dict[str, str], embedder: Embedder) -> None:
    text = " ".join(summary_of(examples["incident-report"], embedder))
    assert "root cause" in text
    assert "41,000 orders" in text


def test_bullets_are_written_by_the_summariser_too_if_asked_for(examples: dict[str, str], embedder: Embedder) -> None:
    text = summarize(examples["fluss"], Wish(Shape.BULLETS, 4), None, embedder, go_on).text
    assert len([line for line in text.split("\n") if line.startswith("- ")]) == 4


def test_a_short_text_comes_back_as_it_is(embedder: Embedder) -> None:
    assert summarize("Only one thing happened today.", Wish(), None, embedder, go_on) == Extract(
        ["Only one thing happened today."]
    )


@pytest.mark.parametrize("text", ["", "   \n", "```\ncode()\n```"])
def test_a_text_without_sentences_is_answered_honestly(text: str, embedder: Embedder) -> None:
    assert summarize(text, Wish(), None, embedder, go_on).text == NOTHING
    assert key_points(text, Wish(), None, embedder, go_on).text == NOTHING


def test_a_limit_below_one_sentence_cuts_it_and_says_so(examples: dict[str, str], embedder: Embedder) -> None:
    extract = summarize(examples["heat-pumps"], Wish(), 5, embedder, go_on)
    assert extract.cut
    assert examples["heat-pumps"].find(extract.text) > 0


@pytest.mark.parametrize(
    ("sentence", "language", "expected"),
    [
        ("However, the pump stopped.", ENGLISH, "The pump stopped."),
        ("But in addition, costs rose (see table 3).", ENGLISH, "Costs rose."),
        ("First, open the valve.", ENGLISH, "First, open the valve."),
        ("So far nothing broke.", ENGLISH, "So far nothing broke."),
        ("Aber die Kosten stiegen.", GERMAN, "Die Kosten stiegen."),
        ("Allerdings stiegen die Kosten.", GERMAN, "Allerdings stiegen die Kosten."),
        ("Cependant, les coûts augmentent.", FRENCH, "Les coûts augmentent."),
        ("Sin embargo, los costes suben.", SPANISH, "Los costes suben."),
    ],
)
def test_key_points_lose_only_what_can_go_without_harm(sentence: str, language: object, expected: str) -> None:
    assert trim(sentence, language) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The river carries the stones that it finds on its way.", "en"),
        ("Der Fluss trägt die Steine, die er auf seinem Weg findet.", "de"),
        ("La rivière emporte les pierres qu'elle trouve sur son chemin.", "fr"),
        ("El río lleva las piedras que encuentra en su camino.", "es"),
        ("", "en"),
    ],
)
def test_the_language_is_told_from_its_function_words(text: str, code: str) -> None:
    assert detect(text).code == code


class Stopped(Exception):
    pass


@pytest.mark.parametrize("work", [summarize, key_points])
def test_the_work_can_be_stopped_at_every_step(
    work: Callable[..., Extract], examples: dict[str, str], embedder: Embedder
) -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def stop_at(last: int) -> Callable[[], None]:
        left = iter(range(last))

        def checkpoint() -> None:
            if next(left, None) is None:
                raise Stopped

        return checkpoint

    text = examples["street-trees"]
    work(text, Wish(), None, embedder, count)
    assert steps > 8
    for step in range(steps):
        with pytest.raises(Stopped):
            work(text, Wish(), None, embedder, stop_at(step))
