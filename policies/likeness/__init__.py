"""Whether two texts may share one answer: the guard of the semantic cache. Pure, without any model.

Vectors say how close two questions are, and "cancel my order" is very close to "do not cancel my order". So nearness decides
only what is looked at; what may be answered from the cache is decided here, from the words. The rule is strict: after courtesies,
endings and synonyms are taken away, both texts must have the same words in the same roles. A miss costs a call, a wrong hit costs
trust.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from policies.likeness.compare import compare
from policies.likeness.language import LEXICONS, language_of
from policies.likeness.reading import read, taken
from policies.likeness.signature import signature
from policies.likeness.words.capitals import TOLD_BY_CAPITAL

__all__ = ["DEFAULT_THRESHOLD", "LONGEST", "THRESHOLDS", "differs", "near", "signature"]

#: Longer texts are a miss: among many words a difference that matters is too easily overlooked. Characters.
LONGEST: Final = 2_000

#: The least cosine of a hit by the embedder that made the vectors. Set on the training part of `training/similarity`.
THRESHOLDS: Final[Mapping[str, float]] = {"wordllama": 0.7}
#: For embedders that were not tried.
DEFAULT_THRESHOLD: Final = 0.9

_CAPITAL = re.compile(r"\b[A-Z][a-z]++\b")
_WORDS = re.compile("[^\\W_]+|[\ue000-\uf8ff]")


def near(similarity: float, threshold: float, guard: str | None) -> bool:
    """Tell whether an entry may be the answer.

    Args:
        similarity: cosine of both questions' vectors, -1 to 1.
        threshold: the least similarity of a hit.
        guard: what `differs` said of the two questions.
    """
    return guard is None and similarity >= threshold


def differs(one: str, other: str) -> str | None:
    """Return in a word why two texts may not share an answer; None if they may.

    The words: length, language, code, quotation, negation, number, unit, date, name, quantity, question, person, tense, opposite,
    wording, direction. English, German, Spanish and French are read; texts in other languages must be the same but for case
    and punctuation. Linear in the length of the texts.
    """
    if max(len(one), len(other)) > LONGEST:
        return "length"
    if _shown(one) == _shown(other):
        return None
    languages = {language_of(one), language_of(other)} - {""}
    if len(languages) > 1:
        return "language"
    for kind in ("code", "quotation"):
        if taken(one).of(kind) != taken(other).of(kind):
            return kind
    language = languages.pop() if languages else ""
    if _respelled(one, other, language) or _respelled(other, one, language):
        return "name"
    readable = language in LEXICONS and read(one, language).words
    found = compare(read(one, language), read(other, language)) if readable else _unlike(one, other)
    return found or ("wording" if _signs(one) != _signs(other) else None)


def _shown(text: str) -> str:
    # Spaces within may be those of code.
    return text.strip().rstrip(".!? ")


def _unlike(one: str, other: str) -> str | None:
    first, second = taken(one), taken(other)
    same = _WORDS.findall(first.text.casefold()) == _WORDS.findall(second.text.casefold())
    return None if same and first.pieces == second.pieces else "wording"


def _respelled(one: str, other: str, language: str) -> bool:
    """Whether a word that only a capital tells from another has one here, be it as the first of a sentence, and none there."""
    told = TOLD_BY_CAPITAL.get(language)
    names = told and told & {word.lower() for word in _CAPITAL.findall(taken(one).text)}
    return bool(names and not names.isdisjoint(_WORDS.findall(taken(other).text)))


def _signs(text: str) -> list[str]:
    """Signs that are no letters and that nobody else looks at: arrows, thumbs up and down."""
    return (
        [] if text.isascii() else [sign for sign in text if unicodedata.category(sign) in ("So", "Sm") and sign != "°"]
    )
