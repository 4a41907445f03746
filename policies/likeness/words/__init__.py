"""What the guard of the semantic cache knows of a language: which words say nothing, which say the same, which decide.

A word that stands in no table here has to be in both texts. So what is missing costs a hit and never a wrong answer; what is
listed as empty or as equal has to be so in every question that people ask.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

#: Frames of questions, written into the text by `Lexicon.phrases`. What, which and a mere request are no frame: what they ask for
#: is told by the other words.
FRAMES: Final = frozenset(
    "how who whom whose when where whereto wherefrom why howmuch howmany howlong howoften price can should must yn todo".split()
)


def table(text: str) -> dict[str, str]:
    """Read groups of words that mean the same, with a bar or a line's end between them; a group's first word names it."""
    lines = [line.split() for line in re.split(r"[|\n]", text) if line.strip()]
    return {word: line[0] for line in lines for word in line}


def rules(*pairs: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compile replacements, in their order. There is never more than one blank in a row where they are made."""
    return tuple((re.compile(pattern), f" {put} ") for pattern, put in pairs)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language. Words are folded (see `reading.fold`) and not yet stemmed.

    Attributes:
        language: ISO 639-1.
        signs: words that texts of this language have and others hardly.
        phrases: what is replaced before words are looked at: courtesies by nothing, ways to ask by `_frame_`.
        empty: words that say nothing by themselves.
        negations: by what they say.
        quantities: words of amount, comparison and frequency, by what they say.
        numbers: words for numbers and ordinals ("2.").
        dates: words of the calendar and the clock.
        units: words for units beside those that all languages have.
        prepositions: word to the group in which it is not told apart; what they stand before has its role from them.
        telling: prepositions that have to be in both texts, like any other word.
        loose: groups of prepositions that may stand for each other.
        persons: word to "@1" (I, we), "@2" (you), or another one; of others, who acts and whom it is done to are told apart.
        joins: words that put equals side by side.
        synonyms: word to the name of its class; compared after stemming.
        opposites: pairs, to tell why; without them the words are different all the same.
        stem: takes endings off.
        particles: German only: the parts that its verbs put at the end of a clause.
        focus: names of quantities that speak of the very next word, a pronoun too, or of the last one where they end a clause.
    """

    language: str
    signs: frozenset[str]
    phrases: Sequence[tuple[re.Pattern[str], str]]
    empty: frozenset[str]
    negations: Mapping[str, str]
    quantities: Mapping[str, str]
    numbers: Mapping[str, str]
    dates: Mapping[str, str]
    units: Mapping[str, str]
    prepositions: Mapping[str, str]
    telling: frozenset[str]
    loose: frozenset[str]
    persons: Mapping[str, str]
    joins: frozenset[str]
    synonyms: Mapping[str, str]
    opposites: frozenset[frozenset[str]]
    stem: Callable[[str], str]
    particles: tuple[str, ...] = ()
    focus: frozenset[str] = frozenset()
    classes: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        stemmed = {self.stem(word): self.stem(name) for word, name in self.synonyms.items()}
        object.__setattr__(self, "classes", stemmed)

    def named(self, word: str) -> str:
        """Return what a word is called when endings and synonyms are not told apart."""
        if not word.isalpha():
            return word
        stem = self.stem(word)
        return self.classes.get(stem, stem)


def opposed(text: str, stem: Callable[[str], str]) -> frozenset[frozenset[str]]:
    """Read pairs `one/other` of words that mean the opposite."""
    pairs: Iterable[list[str]] = (pair.split("/") for pair in text.split())
    return frozenset(frozenset(map(stem, pair)) for pair in pairs)
