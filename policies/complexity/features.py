"""What is measured of a prompt. The work is bounded: of a long text only its ends are looked at."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.complexity.vocabulary import GROUPS, PHRASES, STEM_LENGTHS, STEMS, WORDS

Vector = NDArray[np.float32]

_HEAD: Final = 1_000
_TAIL: Final = 400
_TASK: Final = 700
_CLOSING: Final = 250
_WORDS: Final = 160

_PASTED = re.compile(r"```.*?(?:```|\Z)|[\"“„«]\s*[^\"“”„«»]{25,}[\"”“»]", re.DOTALL)
_PARAGRAPHS = re.compile(r"\n\s*\n")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_CODE = re.compile(
    r"```|[{};]\s*\n|\b(?:def|class|return|func|void|import|SELECT|while|for) ?[\w(]|=>|==|!=|:=|\w\(\w*\)|</?\w+>"
)
_MATHS = re.compile(r"[=<>≤≥≠²³√∞∑∫×÷^≡∀∃→]|\b\d*[xyn]\b|\d\s*[-+*/]\s*\d")
_NUMBER = re.compile(r"\d+")
_ITEM = re.compile(r"(?m)^\s*(?:[-*•]|\d+[.)])\s|\(\w\)\s|(?:^|\s)\d[.)]\s")
_SENTENCE = re.compile(r"[.!?…](?:\s|$)")


@dataclass(frozen=True, slots=True)
class Parts:
    """A prompt taken apart.

    Attributes:
        whole: the text, or its two ends if it is long.
        task: what is asked for, without what was pasted for it.
        length: characters of the full text.
    """

    whole: str
    task: str
    length: int


def parts_of(text: str) -> Parts:
    """Take a prompt apart: the task stands in the first paragraph or in the last, what lies between them is material."""
    whole = text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n\n{text[-_TAIL:]}"
    own = _PASTED.sub(" … ", whole)
    paragraphs = [found for piece in _PARAGRAPHS.split(own) if (found := piece.strip())]
    if not paragraphs:
        return Parts(whole, whole[:_TASK], len(text))
    task = paragraphs[0][:_TASK]
    if len(paragraphs) > 1:
        last = paragraphs[-1]
        # A closing question belongs to the task; a signature or the end of a pasted text does not.
        if "?" in last[-_CLOSING:] or len(task) < 20:
            task = f"{task}\n{last[-_CLOSING:]}"
    return Parts(whole, task, len(text))


def gist(text: str) -> str:
    """What of a prompt is to be embedded, at most 951 characters."""
    return parts_of(text).task


_PLAIN: Final = (
    "task length", "task words", "whole length", "material", "sentences", "commas", "questions", "exclamations", "colons",
    "semicolons", "numbers", "items", "code", "mathematics", "paragraphs", "lines", "quotes", "brackets", "tiny", "short",
    "ends in question", "long words", "and", "capital start", "commas a sentence", "different words",
)  # fmt: skip
NAMES: Final[tuple[str, ...]] = (
    *_PLAIN,
    *(f"words: {group}" for group in GROUPS),
    *(f"opens with: {group}" for group in GROUPS),
    *(f"phrases {place}" for place in range(len(PHRASES))),
    "length squared",
    *(f"length with words: {group}" for group in GROUPS),
    *(f"length with phrases {place}" for place in range(len(PHRASES))),
)
_USUAL_LENGTH: Final = 1.5
_LOGS: Final = tuple(math.log1p(count) for count in range(4 * _WORDS))
_AND: Final = frozenset({"and", "or", "und", "oder", "y", "o", "et", "ou", "e"})


def words_of(task: str) -> list[str]:
    """The words of a task, in lower case."""
    return _WORD.findall(task.lower())[:_WORDS]


def lexical(parts: Parts) -> Vector:
    """The features of `NAMES`, each about -3 to 3."""
    task = parts.task
    lower = task.lower()
    words = words_of(task)
    counts, opening = _groups(words)
    phrases = [float(any(phrase in lower for phrase in listed)) for listed in PHRASES]
    # The same word means other things in a line and in a page: "design" in six words is vague, in sixty it is an order.
    length = _log(len(task)) / 3 - _USUAL_LENGTH
    longer = [length * value for value in (length, *counts, *phrases)]
    return np.array([*_plain(parts, words), *counts, *opening, *phrases, *longer], dtype=np.float32)


def _plain(parts: Parts, words: list[str]) -> list[float]:
    task, whole = parts.task, parts.whole
    many = max(1, len(words))
    sentences = len(_SENTENCE.findall(task))
    commas = task.count(",")
    return [
        _log(len(task)) / 3,
        _log(len(words)) / 2,
        _log(parts.length) / 3,
        _log(max(0, parts.length - len(task))) / 4,
        _log(sentences),
        _log(commas),
        _log(task.count("?")),
        _log(task.count("!")),
        _log(task.count(":")),
        _log(task.count(";")),
        _log(len(_NUMBER.findall(task))),
        _log(len(_ITEM.findall(whole))),
        _log(len(_CODE.findall(whole))),
        _log(len(_MATHS.findall(task))),
        _log(whole.count("\n\n")),
        _log(whole.count("\n")) / 2,
        _log(sum(map(task.count, "\"“„«'"))) / 2,
        _log(task.count("(") + task.count("[")),
        float(many <= 4),
        float(many <= 12),
        float(task.rstrip().endswith("?")),
        sum(len(word) > 9 for word in words) / many * 4,
        _log(sum(word in _AND for word in words)),
        float(task[:1].isupper()),
        min(3.0, commas / max(1, sentences) / 3),
        len(set(words)) / many,
    ]


def _log(count: int) -> float:
    return _LOGS[count] if count < len(_LOGS) else math.log1p(count)


def _groups(words: list[str]) -> tuple[list[float], list[float]]:
    """How many words of each group there are, and which groups the first three words belong to."""
    counts = [0] * len(GROUPS)
    opening = [0.0] * len(GROUPS)
    for place, word in enumerate(words):
        for group in _groups_of(word):
            counts[group] += 1
            if place < 3:
                opening[group] = 1.0
    return [_LOGS[count] for count in counts], opening


# Prompts share most of their words: looking a word up once instead of a dozen times halves the cost of a prompt.
@lru_cache(maxsize=16_384)
def _groups_of(word: str) -> tuple[int, ...]:
    found = WORDS.get(word, ())
    for length in STEM_LENGTHS:
        if length > len(word):
            break
        found += STEMS.get(word[:length], ())
    return found
