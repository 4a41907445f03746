"""What a feature means, in words for the reason of a decision."""

from collections.abc import Mapping
from typing import Final

from policies.complexity.features import Parts

_SHORT: Final = 80

_GROUPS: Final[Mapping[str, str]] = {
    "prove": "asks for a proof or derivation",
    "justify": "asks to infer or justify",
    "paradox": "asks about a contradiction or a puzzle",
    "extreme": "asks for an optimum",
    "all_cases": "asks about all cases",
    "formal": "formal terms",
    "design": "asks to design or build",
    "weigh": "asks to compare or weigh",
    "scope": "risks, costs and phases are named",
    "explain": "asks for an explanation",
    "why": "asks why",
    "write": "asks for a text",
    "summarise": "asks for a summary",
    "extract": "asks to extract or classify",
    "lookup": "asks for a fact",
    "brief": "asks for a brief answer",
    "command": "a plain instruction",
    "solve": "asks for a calculation",
    "plan": "asks for a plan",
    "search": "asks to look something up",
    "one_thing": "asks for one thing",
    "material": "works on a given text",
    "artefact": "asks for a large piece of work",
    "mechanism": "asks how something works",
    "working": "asks for the steps",
    "conditional": "conditions",
    "games": "the words of a puzzle",
    "self": "a personal matter",
    "small_code": "a small piece of code",
    "everyday": "everyday matters",
    "civic": "organisations and places are concerned",
    "long_text": "asks for a long text",
    "short_text": "asks for a short text",
    "discuss": "asks for a discussion",
    "sums": "an ordinary calculation",
    "social": "small talk",
}
_PHRASES: Final = (
    "wants every step",
    "asks for a proof or derivation",
    "asks what is possible at all",
    "wants a justification",
    "asks for a large piece of work",
    "asks for an explanation",
    "asks for a fact",
    "asks for a brief answer",
    "asks for a text of some length",
)
_PRESENT: Final[Mapping[str, str]] = {
    "commas": "a long list of requirements",
    "semicolons": "a long list of requirements",
    "commas a sentence": "a long list of requirements",
    "and": "a long list of requirements",
    "code": "contains code",
    "mathematics": "contains mathematics",
    "numbers": "contains numbers",
    "items": "a list of items",
    "material": "a text is pasted",
    "tiny": "very short",
    "short": "short",
}


def hint(name: str, value: float, parts: Parts) -> str | None:
    """Words for a feature of the prompt, or None for one that is absent or says little to a person."""
    kind, _, group = name.partition(": ")
    if value > 0 and kind in {"words", "opens with"}:
        return _GROUPS[group]
    if value > 0 and name.startswith("phrases "):
        return _PHRASES[int(name.removeprefix("phrases "))]
    if name in {"task length", "task words", "whole length", "sentences", "long words"}:
        return "short" if len(parts.task) < _SHORT else "long" if len(parts.task) > 4 * _SHORT else None
    return _PRESENT.get(name) if value > 0 else None
