from collections import Counter

import pytest

from bench.measures.complexity import _down, _Ended, _mixed
from training.complexity.labelled import Prompt, read_prompts


def test_the_mix_has_a_thousand_prompts_in_the_shares_it_names() -> None:
    prompts = [prompt for prompt in read_prompts() if prompt.held_out]
    mixed = _mixed(prompts)
    assert Counter(prompt.tier for prompt in mixed) == {"simple": 700, "medium": 200, "complex": 70, "reasoning": 30}
    assert len({prompt.text for prompt in mixed if prompt.tier == "complex"}) == 70


def test_tiers_take_turns_instead_of_coming_one_after_the_other() -> None:
    prompts = [
        Prompt(f"{tier} {number}", tier, "chat", "en") for tier in ("simple", "complex") for number in range(900)
    ]
    prompts += [Prompt(tier, tier, "chat", "en") for tier in ("medium", "reasoning")]
    tiers = [prompt.tier for prompt in _mixed(prompts)]
    assert {"simple", "medium", "complex", "reasoning"} == set(tiers[:100])


def test_the_saving_is_weighted_by_the_mix_and_not_by_how_many_jobs_there_were() -> None:
    before = [_Ended("simple", "large", 1000)] * 3 + [_Ended("complex", "large", 1000)]
    after = [_Ended("simple", "small", 200)] * 3 + [_Ended("complex", "large", 1000)]
    assert _down(before, after, {"simple": 50, "complex": 50}) == pytest.approx(40)
