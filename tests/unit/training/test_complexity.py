"""The labelled prompts, and what the shipped weights make of those that were never trained on."""

from collections import Counter

import numpy as np
import pytest

from policies.complexity.classifier import TIERS, Weights, shipped
from training.complexity.labelled import HERE, Prompt, measure, read_later, read_prompts
from training.complexity.learning import fit, judge, told_of
from training.complexity.report import exact, far_too_low, goals_reached, summary
from training.complexity.train import TARGET

KINDS = {"chat", "faq", "extraction", "summarisation", "coding", "mathematics", "planning", "tool_use"}


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return read_prompts()


def test_there_are_prompts_of_every_tier_kind_and_language(prompts: list[Prompt]) -> None:
    assert len(prompts) >= 640
    cells = Counter((prompt.kind, prompt.tier) for prompt in prompts)
    assert set(cells) == {(kind, tier) for kind in KINDS for tier in TIERS}
    assert min(cells.values()) >= 15
    languages = Counter((prompt.language, prompt.tier) for prompt in prompts)
    assert {language for language, _ in languages} == {"en", "de", "es", "fr"}
    assert min(languages.values()) >= 20


def test_no_prompt_is_there_twice(prompts: list[Prompt]) -> None:
    words = [" ".join(prompt.text.lower().split()) for prompt in [*prompts, *read_later()]]
    assert len(set(words)) == len(words)


def test_a_quarter_or_more_is_held_out_whatever_the_order(prompts: list[Prompt]) -> None:
    assert sum(prompt.held_out for prompt in prompts) >= len(prompts) / 4
    assert [prompt.held_out for prompt in reversed(prompts)] == [prompt.held_out for prompt in prompts][::-1]


def test_the_shipped_weights_reach_the_goals_on_the_held_out_part(prompts: list[Prompt]) -> None:
    kept = [prompt for prompt in prompts if prompt.held_out]
    data = measure(kept)
    assert goals_reached(told_of(kept, data, shipped()), data.tiers)


def test_the_shipped_weights_are_those_that_the_training_part_gives(prompts: list[Prompt]) -> None:
    training = measure([prompt for prompt in prompts if not prompt.held_out])
    learned = fit(training)
    # Other machines may add in another order.
    np.testing.assert_allclose(learned.lexical, shipped().lexical, atol=0.02)
    assert np.mean(judge(learned, training) == judge(shipped(), training)) > 0.99


def test_the_weights_file_is_small_and_reads_back_as_it_was_written() -> None:
    content = TARGET.read_bytes()
    assert len(content) < 200_000
    # Not byte by byte: how a zip file is headed differs between releases of Python.
    once = Weights.parse(content)
    again = Weights.parse(once.dump())
    for name in ("mean", "scale", "lexical", "embedding", "bias"):
        assert np.array_equal(getattr(once, name), getattr(again, name))


def test_the_report_beside_the_prompts_is_the_one_of_these_weights(prompts: list[Prompt]) -> None:
    kept = [prompt for prompt in prompts if prompt.held_out]
    data = measure(kept)
    told = summary(len(prompts), told_of(kept, data, shipped()), judge(shipped(), data, 0.0, 1.0), data.tiers)
    written = (HERE / "report.md").read_text(encoding="utf-8")
    assert "\n".join(told) in written


def test_the_shares_count_what_they_say() -> None:
    told, true = np.array([0, 1, 0, 3]), np.array([0, 0, 2, 3])
    assert exact(told, true) == 0.5
    assert far_too_low(told, true) == 0.25
