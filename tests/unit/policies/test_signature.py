"""Finding texts that may share an answer by their words."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.likeness import differs, signature

PAIRS = Path(__file__).parents[3] / "training" / "similarity" / "pairs.jsonl"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I cancel my order?", "What is the way to cancel my order?"),
        ("When does the museum open on Sundays?", "on sundays, when does the museum open"),
        ("Who wrote The Old Man and the Sea?", "who wrote the old man and the sea"),
        ("Wie lange dauert die Lieferung?", "Wie lange dauert denn die Lieferung?"),
        # Left to the guard.
        ("Cancel my order.", "Do not cancel my order."),
    ],
)
def test_the_same_words_have_the_same_signature(one: str, other: str) -> None:
    assert signature(one) == signature(other)


@pytest.mark.parametrize(
    "other", ["How do I cancel my flight?", "How do I cancel order 4711?", "Wie storniere ich meine Bestellung?"]
)
def test_other_words_have_another(other: str) -> None:
    assert signature("How do I cancel my order?") != signature(other)


def test_nearly_all_that_the_guard_lets_pass_is_found_by_its_words() -> None:
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    passed = [pair for pair in pairs if differs(pair["a"], pair["b"]) is None]
    found = [pair for pair in passed if signature(pair["a"]) == signature(pair["b"])]
    # The rest is misspelled, or too short to tell its language.
    assert len(found) > 0.9 * len(passed)


@given(st.text(max_size=200), st.binary(max_size=40))
def test_every_text_has_one_and_a_salt_changes_it(text: str, salt: bytes) -> None:
    assert len(signature(text)) == 16
    assert signature(text, salt) == signature(text, salt)
    assert signature(text, salt + b"x") != signature(text, salt)
