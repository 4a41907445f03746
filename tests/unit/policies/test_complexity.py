import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.embedding import shared_embedder
from policies.complexity import TIERS, Verdict, classify, gist
from policies.complexity.classifier import DEMANDING, SURE, Weights, rounded_up, shipped
from policies.complexity.features import NAMES, lexical, parts_of

NO_EMBEDDING = np.zeros(256, dtype=np.float32)
shares = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(lambda each: np.array(each) / sum(each))


def judged(text: str) -> Verdict:
    return classify(text, shared_embedder().embed([gist(text)]).vectors[0])


MAIL = """Dear team,

the inspection of the boiler room was completed on Friday. Two valves on the return line have to be replaced, and the pump \
shows signs of wear, although it is still within its limits. We recommend to order the parts before the heating season begins. \
The report with all measurements follows next week, together with the invoice for the inspection.

Kind regards
Ellen Marsh
"""


@pytest.mark.parametrize(
    ("text", "tier"),
    [
        ("Hello!", "simple"),
        ("What's the capital of France?", "simple"),
        ("Was ist die Hauptstadt von Frankreich?", "simple"),
        (f"Who signed this mail?\n\n{MAIL * 3}", "simple"),
        ("Summarise the plot of Macbeth in about 150 words.", "medium"),
        ("Explique comment fonctionne un moteur à vapeur, avec un exemple.", "medium"),
        (
            "Design and implement a plugin system with isolation, versioning, tests, rollback and a migration plan.",
            "complex",
        ),
        ("Prove that sqrt(2)+sqrt(3) is irrational.", "reasoning"),
        ("Beweise, dass es unendlich viele Primzahlen gibt.", "reasoning"),
        ("Demuestra que la suma de dos números pares es par.", "reasoning"),
    ],
)
def test_plain_cases_get_their_tier(text: str, tier: str) -> None:
    assert judged(text).tier == tier


@given(st.text(max_size=3000))
def test_every_text_gets_a_tier_and_a_reason(text: str) -> None:
    verdict = classify(text, NO_EMBEDDING)
    assert verdict.tier in TIERS
    assert 0 <= verdict.confidence <= 1
    assert verdict.reason
    assert sum(verdict.probabilities) == pytest.approx(1, abs=0.001)
    assert verdict == classify(text, NO_EMBEDDING)


@given(st.text(max_size=3000))
def test_features_are_finite_numbers_in_the_order_of_their_names(text: str) -> None:
    measured = lexical(parts_of(text))
    assert measured.shape == (len(NAMES),)
    assert np.isfinite(measured).all()


@given(shares)
def test_what_is_unsure_is_rounded_up_and_never_down(probabilities: np.ndarray) -> None:
    best, place = int(np.argmax(probabilities)), rounded_up(probabilities)
    assert place >= best
    if probabilities[best] >= SURE and probabilities[2:].sum() < DEMANDING:
        assert place == best


@given(shares)
def test_a_prompt_that_may_well_be_demanding_never_gets_a_small_model(probabilities: np.ndarray) -> None:
    if probabilities[2:].sum() >= DEMANDING:
        assert rounded_up(probabilities) >= 2


@pytest.mark.parametrize(
    "text", ["これはどういう意味ですか", "Докажите, что корень из двух иррационален", "帮我证明根号二是无理数"]
)
def test_a_script_that_can_not_be_read_is_taken_for_demanding(text: str) -> None:
    assert judged(text).tier in {"complex", "reasoning"}


def test_another_language_is_taken_one_tier_higher_than_its_length_suggests() -> None:
    verdict = judged("Scrivi una breve poesia sul mare d'inverno per mia nonna")
    assert verdict.tier != "simple"
    assert "language" in verdict.reason


@pytest.mark.parametrize("filler", ["word ", "a, b; c\n", "\n\n", "«x ", "def f(x): return 1\n", "😀", "("])
def test_a_long_prompt_is_judged_by_its_ends_alone(filler: str) -> None:
    start, end = (
        "Please translate the greeting of this mail into Italian.\n\n" + "A line of the mail.\n" * 120,
        "\nBest, Ann" * 100,
    )
    one, other = start + filler * 1_000 + end, start + filler * 100_000 + end
    assert gist(one) == gist(other)
    assert len(gist(other)) <= 951
    assert judged(other).tier == judged(one).tier


def test_an_empty_prompt_is_simple() -> None:
    assert classify(" \n\t", NO_EMBEDDING).tier == "simple"


def test_the_reason_names_what_spoke_for_the_tier() -> None:
    assert "proof" in judged("Prove that there are infinitely many primes.").reason


def test_an_embedding_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        classify("hello", np.zeros(64, dtype=np.float32))


def test_weights_for_other_features_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = shipped().dump()
    monkeypatch.setattr("policies.complexity.classifier.NAMES", NAMES[1:])
    with pytest.raises(ValueError, match="other features"):
        Weights.parse(content)
