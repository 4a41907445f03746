from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.local.sentences import MAX_SENTENCE_CHARS, split_sentences

PIECES = st.sampled_from(
    [
        "The tram",
        "Dr.",
        "z.B.",
        "3.",
        "Mai",
        "e.g.",
        "U.S.",
        " ",
        "\n",
        ".",
        "!",
        "?",
        "…",
        '"',
        ")",
        "a",
        "Ein",
        "«",
        "»",
        "。",
        "I.",
    ]
)


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@given(st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=60).map(" ".join)))
def test_splitting_loses_nothing_but_whitespace(text: str) -> None:
    spans = split_sentences(text)
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


@given(st.text(alphabet="ab .;\n", min_size=1_000, max_size=3_000))
def test_no_sentence_is_longer_than_the_limit(text: str) -> None:
    assert all(0 < len(sentence) <= MAX_SENTENCE_CHARS for sentence in sentences(text))


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Weber met Prof. Lindt at 3 p.m. in room 4.",
        "The rate, e.g. for pumps, rose by 3.5 per cent.",
        "Am 3. Mai beginnt z.B. die Messe, usw. bis zum 12. August.",
        "Voir la fig. 3 et l'art. 12 du code.",
        "La Sra. García llegó a la pág. 12 del libro.",
        "The U.S. Senate voted.",
        "J. Smith wrote it.",
        "It runs on Python 3.11.4 and costs 1.200,50 euros.",
    ],
)
def test_abbreviations_numbers_and_initials_do_not_end_a_sentence(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It works. It stays.", ["It works.", "It stays."]),
        ('He asked: "Why?" Nobody knew.', ['He asked: "Why?"', "Nobody knew."]),
        ("Wirklich! „Ja.“ Gut…", ["Wirklich!", "„Ja.“", "Gut…"]),
        ("Il a subi un vol. Des abris aident.", ["Il a subi un vol.", "Des abris aident."]),
        ("She said no. They left.", ["She said no.", "They left."]),
        ("Il pleut. Élise rentre.", ["Il pleut.", "Élise rentre."]),
        ("¿Vienes? ¡Claro! Vamos.", ["¿Vienes?", "¡Claro!", "Vamos."]),
        ("They sell pens, paper, etc. The shop is small.", ["They sell pens, paper, etc.", "The shop is small."]),
        ("今日は雨。明日は晴れ。", ["今日は雨。", "明日は晴れ。"]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
