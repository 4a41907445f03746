"""How well a sentence stands on its own, away from the sentences around it."""

import re
from dataclasses import dataclass
from enum import IntEnum

from workers.providers.local.document import Kind, Sentence
from workers.providers.local.language import Language

_TOKEN = re.compile(r"[^\W_]+(?:['’\-./][^\W_]+)*")
_OPENING_WORDS = 9
_LABEL_CHARS = 36
_KIND_WORTH = {Kind.PROSE: 1.0, Kind.ITEM: 0.85, Kind.QUOTE: 0.6}
_OPENING_MARKS = " \t\"'“„«»‹‘(*_`"
_TRAILING_PUNCTUATION = re.compile(r"""[.!?…]["'”’»)\]]*$""")
_FIRST_PERSON = re.compile(r"\b(?:i|i'm|i've|my|me|ich|mein|meine|je|j'ai|mon|yo|mi)\b", re.IGNORECASE)
_SECOND_PERSON = re.compile(r"\b(?:you|your|yours)\b", re.IGNORECASE)
# "This release …" names what the whole text or section is about; it points back to nothing.
_SELF = re.compile(r"(?:this|diese|cette|esta)\s+(?:release|version|update|versión|mise à jour)\b", re.IGNORECASE)
_QUOTED = re.compile(r"[“„«\"][^”“»\"]{12,}[”“»\"]")


class Leaning(IntEnum):
    """How much a sentence needs the one before it."""

    NONE = 0
    SLIGHT = 1
    STRONG = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """`worth` multiplies a sentence's score when it is taken alone; `worth_after` when its predecessor is taken as well."""

    worth: float
    worth_after: float
    words: int
    leaning: Leaning


def read(sentence: Sentence, language: Language) -> Reading:
    """Judge one sentence."""
    text = sentence.text
    words = [word.lower().replace("’", "'") for word in _TOKEN.findall(text)]
    form = _form(sentence, words, language)
    leaning = lean(text, words, language)
    alone = {Leaning.NONE: 1.0, Leaning.SLIGHT: 0.72, Leaning.STRONG: 0.3}[leaning]
    # In the middle of a paragraph a sentence more often presupposes something, even where no word shows it.
    if sentence.kind is not Kind.ITEM and sentence.place > 0:
        alone *= 0.86
    return Reading(form * alone, form, len(words), leaning)


def lean(text: str, words: list[str], language: Language) -> Leaning:
    """Whether the sentence opens by pointing back."""
    opening = text.lstrip(_OPENING_MARKS).lower().replace("’", "'")
    if not words:
        return Leaning.STRONG
    if _SELF.match(opening):
        return Leaning.NONE
    joint = starts_with_any(opening, language.connectives + language.enumerators)
    if joint in language.cues:
        return Leaning.SLIGHT  # "In short, …" sums up, which is what a summary looks for
    if joint or words[0] in language.pronouns:
        return Leaning.STRONG
    near = language.determiners.intersection(words[1:_OPENING_WORDS])
    return Leaning.SLIGHT if near or language.demonstratives.intersection(words) else Leaning.NONE


def starts_with_any(text: str, phrases: tuple[str, ...]) -> str:
    """The longest of the phrases that the text starts with as whole words, or ""."""
    found = ""
    for phrase in phrases:
        if len(phrase) > len(found) and text.startswith(phrase) and not text[len(phrase) : len(phrase) + 1].isalnum():
            found = phrase
    return found


def _form(sentence: Sentence, words: list[str], language: Language) -> float:
    """Length, completeness and manner of speaking."""
    text = sentence.text
    worth = _length_worth(len(words))
    if text.endswith("?") or "?" in text[:-1]:
        worth *= 0.35
    if text.endswith(":"):
        worth *= 0.15
    elif not _TRAILING_PUNCTUATION.search(text):
        worth *= 0.55  # a fragment: list item, label, caption
    if 0 <= text.find(": ") < _LABEL_CHARS:
        worth *= 0.85  # "Tip: …", "Close the account: …"
    worth *= _KIND_WORTH[sentence.kind] * _voice(text)
    if any(pointer in text.lower() for pointer in language.pointers):
        worth *= 0.7
    letters = sum(character.isalpha() or character.isspace() for character in text)
    if letters < 0.75 * len(text):
        worth *= 0.5  # mostly numbers, code or paths
    return worth


def _voice(text: str) -> float:
    """Reports say more than addresses and quotations."""
    return (
        (0.75 if _FIRST_PERSON.search(text) else 1.0)
        * (0.85 if _SECOND_PERSON.search(text) else 1.0)
        * (0.8 if _QUOTED.search(text) else 1.0)
    )


def _length_worth(words: int) -> float:
    """Twelve to thirty words carry a statement; a shorter one says little, a longer one says too much at once."""
    if words < 4:
        return 0.08
    if words < 12:
        return 0.4 + 0.6 * (words - 4) / 8
    if words <= 30:
        return 1.0
    return max(0.3, 1.0 - (words - 30) / 45)
