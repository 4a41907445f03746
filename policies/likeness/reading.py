"""How the guard reads a text: what of it has to be in another text that shares its answer."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from policies.likeness.language import LEXICONS
from policies.likeness.symbols import PLACE, Taken, take_out
from policies.likeness.words import FRAMES, Lexicon

_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_TOKEN = re.compile(r"_[a-z]++_|\d++(?:[.,:/-]\d++)++|[^\W_]++|[\ue000-\uf8ff]|[€$£¥%°]|[.!?;:,]")
_GLUED = re.compile(r"(\d+)([^\W\d_]+)")
_CAPITAL = re.compile(r"(?:(?<=[^\W_] )|(?<=[,;] )|(?<=['’-]))[A-ZÀ-ÖØ-Þ][^\W_]*+")
_ACRONYM = re.compile(r"\b[A-Z]{2,}\b")
_SIGNS: Final = {"€": "eur", "$": "usd", "£": "gbp", "¥": "jpy", "%": "%", "°": "°"}
_SHORT_UNITS: Final = frozenset("g m l h s t in min c f d y ft mi yd oz kg km cm mm mg ml".split())
_TITLES: Final = frozenset(
    "mr mrs ms dr prof herr herrn frau senor senora sr sra don dona monsieur madame mme mlle".split()
)
_I: Final = {"en": "i", "de": "ich", "es": "yo", "fr": "je"}
_STOPS: Final = frozenset(".!?;:,")
_MAY: Final = "may"
_THIS: Final = frozenset("this diesen diese dieser dieses diesem este esta ce cet cette".split())


@dataclass(frozen=True, slots=True)
class Word:
    """A word that counts.

    Attributes:
        name: what it is called without ending and in place of its synonyms.
        raw: as it was written, folded.
        role: the group of the preposition before it; empty for none.
        joined: whether an "and" joins it to the word before.
        tells: whether it is a preposition that counts by itself.
        kind: word, name, number, date, unit, code or quotation.
    """

    name: str
    raw: str
    role: str
    joined: bool
    tells: bool
    kind: str


@dataclass(slots=True)
class Reading:
    """What a text says, as far as it is to be compared.

    Attributes:
        language: one of `LEXICONS`.
        words: what is neither grammar nor courtesy, in order.
        frames: ways to ask, of `FRAMES`.
        negations: how often each is there.
        quantities: how often each is there.
        persons: of whom is spoken.
        forms: the pronouns themselves: who acts is told by them.
        marks: by negation and quantity, the words that come next.
        order: negations and quantities as they come: "not all" is not "all not".
        speaks: whether "I" or "we" is there: then it is clear who acts.
        past: whether it asks for what was.
        owns: whether somebody's something is spoken of.
    """

    language: str
    words: list[Word] = field(default_factory=list)
    frames: set[str] = field(default_factory=set)
    negations: Counter[str] = field(default_factory=Counter)
    quantities: Counter[str] = field(default_factory=Counter)
    persons: set[str] = field(default_factory=set)
    forms: set[str] = field(default_factory=set)
    marks: dict[str, set[str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    speaks: bool = False
    past: bool = False
    owns: bool = False

    def of(self, kind: str) -> Counter[str]:
        """Return the names of all words of a kind."""
        return Counter(word.name for word in self.words if word.kind == kind)


def fold(text: str, language: str) -> str:
    """Return lower case without accents, as the tables of that language have it."""
    low = text.replace("’", "'").replace("‘", "'").lower()
    if language == "de":
        low = low.translate(_UMLAUTS)
    if language == "fr":
        # An é at the end makes a participle, où is not ou: these keep their accents.
        low = re.sub(r"é(e?s?)\b", "\ue8ff\\1", low).replace("où", "o\ue8fe").replace("œ", "oe")
    if not low.isascii():
        low = "".join(sign for sign in unicodedata.normalize("NFD", low) if not unicodedata.combining(sign))
    return low.replace("\ue8ff", "é").replace("\ue8fe", "ù")


@lru_cache(maxsize=512)
def taken(text: str) -> Taken:
    """Take code and quotations out of a text, of which the parts that only look different are made equal."""
    return take_out(unicodedata.normalize("NFKC", text))


@lru_cache(maxsize=512)
def read(text: str, language: str) -> Reading:
    """Read a text in one of the languages of `LEXICONS`. Linear in its length."""
    lexicon, out = LEXICONS[language], taken(text)
    low = " ".join(fold(out.text, language).split())
    for pattern, put in lexicon.phrases:
        low, times = pattern.subn(put, low)
        if times:
            low = " ".join(low.split()).lstrip(" ,;")
    return _Reader(lexicon, out).read(low)


def _capitals(text: str, language: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return words with a capital where no sentence begins (in German these are all nouns) and acronyms, both folded."""
    acronyms = _ACRONYM.findall(text)
    # Whoever shouts has neither.
    if 2 * sum(map(len, acronyms)) > len(text):
        return frozenset(), frozenset()
    capitals = [word for word in _CAPITAL.findall(text) if word != "I"]
    return frozenset(fold(word, language) for word in capitals), frozenset(fold(word, language) for word in acronyms)


class _Reader:
    """One pass over the tokens of a text."""

    def __init__(self, lexicon: Lexicon, out: Taken) -> None:
        self._lexicon = lexicon
        self._out = out
        self._capitals, self._acronyms = _capitals(out.text, lexicon.language)
        self._reading = Reading(lexicon.language)
        self._role = self._last = ""
        self._joined = self._run = False
        self._marked: list[str] = []

    def read(self, low: str) -> Reading:
        tokens = list(self._tokens(low))
        for place, token in enumerate(tokens):
            following = tokens[place + 1] if place + 1 < len(tokens) else "."
            before = tokens[place - 1] if place else ""
            if token[0] == "_" or token in _STOPS:
                self._mark(token)
            elif token[0] == "+":
                self._reading.words.append(Word(token[1:], token, "", joined=False, tells=True, kind="word"))
            elif self._grammar(token, following):
                self._run = False
            else:
                self._add(token, before, following)
        self._end_clause()
        return self._reading

    def _end_clause(self) -> None:
        self._focus_on(self._last)  # "members only"
        self._marked.clear()

    def _tokens(self, low: str) -> Iterator[str]:
        lexicon = self._lexicon
        for token in _TOKEN.findall(low):
            glued = _GLUED.fullmatch(token)
            if glued and (glued[2] in _SHORT_UNITS or glued[2] in lexicon.units or glued[2] in lexicon.dates):
                yield from glued.groups()
            elif (prefix := self._prefix(token)) is not None:
                yield f"+{prefix}"
                yield token[len(prefix) :].removeprefix("zu")
            else:
                yield token

    def _prefix(self, token: str) -> str | None:
        """The part that a German verb would put at the end of its clause."""
        lexicon = self._lexicon
        if len(token) < 7 or token in self._capitals or not token.endswith(("en", "e", "t", "ln", "rn")):
            return None
        if token in lexicon.dates or token in lexicon.quantities:
            return None
        return next((part for part in lexicon.particles if token.startswith(part) and len(token) > len(part) + 3), None)

    def _mark(self, token: str) -> None:
        name = token.strip("_")
        if name == "s":
            self._reading.owns = True
            return
        self._role, self._joined, self._run = "", False, False
        if token in _STOPS and name != ",":
            self._end_clause()
        if name in FRAMES:
            self._reading.frames.add(name)
        elif name == "past":
            self._reading.past = True
        elif name == "me":
            self._reading.speaks = True
            self._reading.persons.add("@1")
            self._reading.forms.add(_I[self._lexicon.language])

    def _grammar(self, token: str, following: str) -> bool:
        """Take note of a word that is no content, or not content alone; tell whether it was one."""
        lexicon = self._lexicon
        if self._counted(token):
            return True
        if token in lexicon.joins:
            self._joined = True
            return True
        # At the end of a clause a German verb has its other half.
        if token in lexicon.particles and following in _STOPS:
            self._reading.words.append(Word(token, f"+{token}", "", joined=False, tells=True, kind="word"))
            return True
        if token in lexicon.prepositions:
            self._role = lexicon.prepositions[token]
            return token not in lexicon.telling
        if (token in _THIS and following in lexicon.units) or (token == _MAY and token in self._capitals):
            return False
        return token in lexicon.empty and token not in self._acronyms

    def _counted(self, token: str) -> bool:
        """Count pronouns, negations and quantities."""
        lexicon, reading = self._lexicon, self._reading
        person = lexicon.persons.get(token)
        if person is not None and token not in self._acronyms:
            reading.persons.add(person)
            reading.forms.add(token)
            reading.speaks |= person == "@1"
            self._focus_on(token)
            return True
        for table, counts in ((lexicon.negations, reading.negations), (lexicon.quantities, reading.quantities)):
            if token in table:
                counts[table[token]] += 1
                reading.order.append(table[token])
                self._marked.append(table[token])
                return True
        return False

    def _focus_on(self, token: str) -> None:
        """A pronoun is no word that counts, and yet "only" may stand before it."""
        for mark in self._lexicon.focus.intersection(self._marked):
            self._reading.marks.setdefault(mark, set()).add(token)
            self._marked.remove(mark)
        self._last = token

    def _add(self, token: str, before: str, following: str) -> None:
        kind, name = self._kind(token, before, following)
        words, tells = self._reading.words, token in self._lexicon.telling
        role = "" if tells else self._role
        if words and not role and not tells and (self._joined or (self._run and kind == words[-1].kind == "word")):
            # "Between A and B", "in the room price": what is joined has one role.
            role = words[-1].role
        words.append(Word(name, token, role, self._joined, tells, kind))
        if not tells:
            for mark in self._marked:
                self._reading.marks.setdefault(mark, set()).add(name)
            self._marked.clear()
            self._last = name
        self._joined = False
        self._run = self._lexicon.language == "en" and not tells
        if not tells:
            self._role = ""

    def _kind(self, token: str, before: str, following: str) -> tuple[str, str]:
        lexicon = self._lexicon
        if "\ue000" <= token <= "\uf8ff":
            return self._out.pieces[ord(token) - PLACE]
        if token[0].isdigit():
            return self._number(token)
        unit = _SIGNS.get(token) or self._unit(token, before)
        if unit is not None:
            return "unit", unit
        if token in lexicon.numbers:
            return "number", lexicon.numbers[token]
        date = self._date(token, before, following)
        if date is not None:
            return "date", date
        named = before in _TITLES or token in self._acronyms or (token in self._capitals and lexicon.language != "de")
        return "name" if named else "word", lexicon.named(token)

    def _unit(self, token: str, before: str) -> str | None:
        # Short ones are units only after a number: g, m, in.
        counted = before[:1].isdigit() or before in self._lexicon.numbers or before == "°"
        if not counted and (token not in self._lexicon.units or len(token) <= 2):
            return None
        return self._lexicon.units.get(token, token if token in _SHORT_UNITS else None)

    def _date(self, token: str, before: str, following: str) -> str | None:
        if token == _MAY:
            dated = token in self._capitals or before in ("in", "of") or following[:1].isdigit()
            return token if dated else None
        return self._lexicon.dates.get(token, "this" if token in _THIS else None)

    def _number(self, token: str) -> tuple[str, str]:
        if not token.isdigit() and re.search("[/-]|[.]\\d+[.]", token):
            return "date", token
        if token.isalnum() and not token.isdigit():
            return "name", token
        thousands, point = (",", ".") if self._lexicon.language == "en" else (".", ",")
        if re.fullmatch(rf"\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+", token):
            token = token.replace(thousands, "")
        return "number", token.replace(point, ".")
