"""How well the classifier does, as a page that lies beside the prompts."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from policies.complexity.classifier import DEMANDING, SURE, TIERS, Weights
from training.complexity.labelled import Measured, Places, Prompt, measure, read_later
from training.complexity.learning import cross_validated, fit, judge, told_of

EXACT_GOAL: Final = 0.85
LOW_GOAL: Final = 0.03

_COUNTS: Final = "| {} | {} | {:.1%} | {:.1%} | {:.1%} | {} |"
_COMPLEX: Final = TIERS.index("complex")


def exact(told: Places, true: Places) -> float:
    """The share of prompts with exactly the right tier."""
    return float(np.mean(told == true))


def far_too_low(told: Places, true: Places) -> float:
    """The share of prompts that were put two tiers too low, or lower."""
    return float(np.mean(told <= true - 2))


def too_high(told: Places, true: Places) -> float:
    """The share of prompts that were put too high: what rounding up costs."""
    return float(np.mean(told > true))


def well_served(told: Places, true: Places) -> float:
    """The share of the complex and reasoning prompts that are told to be one of both; nan where there are none."""
    demanding = true >= _COMPLEX
    return float(np.mean(told[demanding] >= _COMPLEX)) if demanding.any() else math.nan


def goals_reached(told: Places, true: Places) -> bool:
    """Whether both goals are reached."""
    return exact(told, true) >= EXACT_GOAL and far_too_low(told, true) <= LOW_GOAL


def report(prompts: Sequence[Prompt], data: Measured, weights: Weights) -> str:
    """Return the page, in Markdown."""
    held_out = np.array([prompt.held_out for prompt in prompts])
    kept = data.part(held_out)
    seen = [prompt for prompt in prompts if prompt.held_out]
    told = told_of(seen, kept, weights)
    training = data.part(~held_out)
    lines = [
        "# How well the classifier does",
        "",
        *summary(len(prompts), told, judge(weights, kept, 0.0, 1.0), kept.tiers),
        *_confusion(told, kept.tiers),
        *_by("language", lambda prompt: prompt.language, seen, told, kept.tiers),
        *_by("kind", lambda prompt: prompt.kind, seen, told, kept.tiers),
        *_training(training),
        *_later(weights),
        *_unseen_languages(prompts, data),
    ]
    return "\n".join(lines).rstrip() + "\n"


def summary(prompts: int, told: Places, plain: Places, true: Places) -> list[str]:
    """Return the numbers that count: what is told of the held-out prompts, and `plain`, what would be without rounding up."""
    served = f"{well_served(told, true):.1%}"
    return [
        "Written by `python -m training.complexity.train`. Every number above the last three tables is of the held-out part:",
        f"{len(true)} of {prompts} prompts, chosen by a hash of their text and never trained on.",
        "",
        f"- **Exact tier: {exact(told, true):.1%}** (goal: at least {EXACT_GOAL:.0%})",
        f"- **Two tiers too low: {far_too_low(told, true):.1%}** (goal: at most {LOW_GOAL:.0%})",
        f"- Too high: {too_high(told, true):.1%}",
        f"- Complex and reasoning prompts that are told to be one of both (*demanding ones served*): {served}",
        "",
        f"What is unsure is rounded up: below {SURE:.0%} the higher of the two best tiers is taken, and from {DEMANDING:.0%} of",
        f"complex and reasoning together one of them. Without that: exact {exact(plain, true):.1%}, two tiers too low",
        f"{far_too_low(plain, true):.1%}, demanding ones served {well_served(plain, true):.1%}.",
        "",
    ]


def _head(title: str, what: str) -> list[str]:
    head = f"| {what} | prompts | exact | two too low | too high | demanding ones served |"
    return [f"## {title}", "", head, "|---|--:|--:|--:|--:|--:|"]


def _row(name: str, told: Places, true: Places) -> str:
    served = well_served(told, true)
    share = "" if math.isnan(served) else f"{served:.1%}"
    return _COUNTS.format(name, len(true), exact(told, true), far_too_low(told, true), too_high(told, true), share)


def _confusion(told: Places, true: Places) -> list[str]:
    counts = [
        [int(np.sum((true == row) & (told == column))) for column in range(len(TIERS))] for row in range(len(TIERS))
    ]
    return [
        "## Confusion",
        "",
        f"| is \\ told | {' | '.join(TIERS)} |",
        "|---|" + "--:|" * len(TIERS),
        *(f"| {tier} | {' | '.join(map(str, row))} |" for tier, row in zip(TIERS, counts, strict=True)),
        "",
    ]


def _by(what: str, of: Callable[[Prompt], str], prompts: Sequence[Prompt], told: Places, true: Places) -> list[str]:
    values = np.array([of(prompt) for prompt in prompts])
    rows = [_row(value, told[values == value], true[values == value]) for value in sorted(set(values.tolist()))]
    return [*_head(f"By {what}", what), *rows, ""]


def _training(training: Measured) -> list[str]:
    told = cross_validated(training)
    return [
        *_head("The training part, cross-validated in five folds", "part"),
        _row("training", told, training.tiers),
        "",
    ]


def _later(weights: Weights) -> list[str]:
    prompts = read_later()
    data = measure(prompts)
    return [
        *_head("Written apart, and never looked at while features were chosen", "part"),
        _row("later", told_of(prompts, data, weights), data.tiers),
        "",
    ]


def _unseen_languages(prompts: Sequence[Prompt], data: Measured) -> list[str]:
    """A harder question than the held-out part: a language of which training saw no prompt."""
    languages = np.array([prompt.language for prompt in prompts])
    rows = []
    for language in sorted(set(languages.tolist())):
        inside = languages == language
        rows.append(_row(language, judge(fit(data.part(~inside)), data.part(inside)), data.tiers[inside]))
    return [*_head("Languages left out of training altogether", "language"), *rows, ""]
