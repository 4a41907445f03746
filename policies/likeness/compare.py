"""What two readings have to have in common."""

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from policies.likeness.language import LEXICONS
from policies.likeness.reading import Reading, Word
from policies.likeness.typos import is_typo
from policies.likeness.words import Lexicon

# What a question asks for is told by its words where nothing but these says how.
_POLITE: Final = frozenset({"can", "yn"})
_US: Final = frozenset({"@1", "@2"})
_MOST_TYPOS: Final = 3
# What is compared with what; whoever says it otherwise leaves these words out on both sides.
_THAN: Final = frozenset({"than", "als"})
# In these no third party can take the place of whoever acts, as long as there are two words only.
_PLAIN: Final = frozenset({"how", "when", "where", "why", "howmuch", "howlong", "yn", "can", "howmany", "price"})


def compare(one: Reading, other: Reading) -> str | None:
    """Return why two texts of one language may not share an answer; None if they may."""
    lexicon = LEXICONS[one.language]
    for reason, first, second in (
        ("negation", one.negations, other.negations),
        ("number", one.of("number"), other.of("number")),
        ("unit", one.of("unit"), other.of("unit")),
        ("date", one.of("date"), other.of("date")),
        ("quantity", one.quantities, other.quantities),
        ("question", _frames(one), _frames(other)),
        ("tense", one.past, other.past),
    ):
        if first != second:
            return reason
    if _other_person(one, other):
        return "person"
    return _leftover(one, other, lexicon) or _moved(one, other) or _direction(one, other, lexicon.loose)


def _frames(reading: Reading) -> AbstractSet[str]:
    frames = reading.frames
    return frames - _POLITE if frames - _POLITE - {"should", "must"} else frames


def _other_person(one: Reading, other: Reading) -> bool:
    first, second = one.persons, other.persons
    if first - _US != second - _US:
        return True
    if (first >= _US and second >= _US) or "who" in one.frames:
        # Who of us, or who else: "do you like me", "do I like you".
        return one.forms != other.forms
    # "My" and "the" are often the same; "my" and "your" are not.
    return bool(first & _US and second & _US and not first & second)


def _leftover(one: Reading, other: Reading, lexicon: Lexicon) -> str | None:
    """Why words that only one of the texts has are not the same after all."""
    first = {(word.name, time): word for time, word in _times(one)}
    second = {(word.name, time): word for time, word in _times(other)}
    left = [word for key, word in first.items() if key not in second]
    right = [word for key, word in second.items() if key not in first]
    if not left and not right:
        return None
    for word in left:
        for twin in right:
            if frozenset((word.name, twin.name)) in lexicon.opposites:
                return "opposite"
    if len(left) != len(right) or len(left) > _MOST_TYPOS:
        return "name" if any(word.kind == "name" for word in left + right) else "wording"
    for word in left:
        slip = next((each for each in right if _misspelled(word, each)), None)
        if slip is None:
            return "name" if word.kind == "name" or any(each.kind == "name" for each in right) else "wording"
        right.remove(slip)
    return None


def _times(reading: Reading) -> Iterator[tuple[int, Word]]:
    """Every word with how often it was there before."""
    seen: Counter[str] = Counter()
    for word in reading.words:
        yield seen[word.name], word
        seen[word.name] += 1


def _misspelled(word: Word, twin: Word) -> bool:
    return word.kind == twin.kind == "word" and is_typo(word.raw, twin.raw)


def _moved(one: Reading, other: Reading) -> str | None:
    """Whether a "not" or an "all" belongs to another word, or the one has come before the other."""
    for mark in one.marks.keys() & other.marks.keys():
        if not one.marks[mark] & other.marks[mark]:
            return "negation" if mark in one.negations else "quantity"
    if one.order != other.order:
        return "negation" if one.negations else "quantity"
    return None


def _direction(one: Reading, other: Reading, loose: AbstractSet[str]) -> str | None:
    """Whether the same words stand in other roles: from A to B, B to A; A attacks B, B attacks A."""
    return "direction" if _turned(one, other, loose) or _reordered(one, other) else None


def _reordered(one: Reading, other: Reading) -> bool:
    """Whether words that no preposition keeps in their roles have changed places, so that others may act."""
    bound = {word.name for word in one.words + other.words if word.role or word.kind == "date" or word.tells}
    first, second = _order(one, bound), _order(other, bound)
    if first == second or sorted(first) != sorted(second):
        return False
    names = {word.name for word in one.words + other.words if word.kind in ("name", "number", "code", "quotation")}
    if [name for name in first if name in names] != [name for name in second if name in names]:
        return True
    if one.owns or other.owns:
        return True
    if one.speaks and other.speaks and _rotated(first, second):
        return False
    frames = one.frames | other.frames
    return not (len(first) <= 2 and frames and frames <= _PLAIN)


def _turned(one: Reading, other: Reading, loose: AbstractSet[str]) -> bool:
    """Whether a preposition stands before another word, or another one before a word: from Rome, to Rome."""
    first, second = _by_role(one), _by_role(other)
    if any(not first[role] & second[role] for role in first.keys() & second.keys()):
        return True
    return first.keys() & _THAN != second.keys() & _THAN or _held(one, other, loose) or _held(other, one, loose)


def _held(one: Reading, other: Reading, loose: AbstractSet[str]) -> bool:
    """Whether a word of the other text stands after prepositions that it never stands after in this one."""
    roles: dict[str, set[str]] = {}
    for word in one.words:
        roles.setdefault(word.name, set()).add(word.role)
    for word in other.words:
        had = roles.get(word.name, {""})
        if word.role and "" not in had and word.role not in had and not ({word.role} | had) <= loose:
            return True
    return False


def _rotated(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether one part was put before the rest: cancel my order, my order I want to cancel."""
    return any([*first[place:], *first[:place]] == second for place in range(1, len(first)))


def _by_role(reading: Reading) -> dict[str, set[str]]:
    roles: dict[str, set[str]] = {}
    for word in reading.words:
        if word.role:
            roles.setdefault(word.role, set()).add(word.name)
    return roles


def _order(reading: Reading, bound: AbstractSet[str]) -> Sequence[str]:
    """The order of the words that no preposition keeps in their roles; what an "and" joins has none."""
    runs: list[list[str]] = []
    for word in reading.words:
        if word.name in bound:
            continue
        if word.joined and runs:
            runs[-1].append(word.name)
        else:
            runs.append([word.name])
    return [name for run in runs for name in sorted(run)]
