"""`/v1/moderations` with OpenAI's categories: patterns of words, and likeness to examples, by sentence.

A small model, and an honest one: it finds what is said plainly in English, German or Spanish, and misses what is said with irony,
in other languages, in new words or in pictures. `tests/unit/workers/providers/local/test_moderation.py` measures how much.
The patterns, with what they mean, stand in `moderation.toml`.
"""

import math
import re
import threading
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from core.embedding import Embedder, Vectors, shared_embedder
from workers.providers.local.chat import invalid
from workers.providers.local.lexical import fold
from workers.providers.local.sentences import split_sentences
from workers.providers.protocol import Usage

MAX_INPUTS: Final = 2_048
MAX_INPUT_CHARS: Final = 4_000_000
FLAGGED_FROM: Final = 0.5

# Logistic weights, set on the first part of the labelled set of the tests: what a strong and a weak pattern count, what the
# likeness to an example beyond that to an innocent sentence counts, and what a sign of help, report or play takes off.
_BIAS: Final = -2.6
_STRONG: Final = 4.2
_WEAK: Final = 1.1
_LIKE: Final = 4.0
_DISCOUNT: Final = -4.0
_MOST_WEAK: Final = 2

_FILE: Final = Path(__file__).with_name("moderation.toml")
_LEET: Final = str.maketrans("013457@$!", "oieastasi")
_MIXED: Final = re.compile(r"\b(?=\w*[a-z])\w*[013457@$!][\w@$!]*")
_SPACED: Final = re.compile(r"\b(?:\w[ .\-_*]){3,}\w\b")
_LONG: Final = re.compile(r"(\w)\1{2,}")
_ANY_WORD: Final = r"(?:[\w'\-]+,? )"
_SENTENCE_CHARS: Final = 1_000
# Unlikeness to all examples says little: there are only a few of them.
_UNLIKE: Final = -0.25


@dataclass(frozen=True, slots=True)
class _Category:
    name: str
    needs: tuple[str, ...]
    strong: re.Pattern[str] | None
    weak: tuple[re.Pattern[str], ...]
    discount: re.Pattern[str] | None
    examples: tuple[str, ...]


@cache
def _categories() -> tuple[tuple[_Category, ...], tuple[str, ...]]:
    """All categories, those that need others after them; and the innocent sentences."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    lists = table.pop("lists")
    innocent = tuple(table.pop("innocent")["examples"])

    def pattern(source: str) -> str:
        return (
            re.sub(r"<(\w+)>", lambda found: str(lists[found.group(1)]), source)
            .replace(r"(?:\w+ )", _ANY_WORD)
            .replace(" ", r"\s+")
        )

    def any_of(sources: Sequence[str]) -> re.Pattern[str] | None:
        return re.compile("|".join(f"(?:{pattern(source)})" for source in sources)) if sources else None

    made = [
        _Category(
            name,
            tuple(entry.get("needs", ())),
            any_of(entry["strong"]),
            tuple(re.compile(pattern(source)) for source in entry["weak"]),
            any_of(entry.get("discount", ())),
            tuple(entry["examples"]),
        )
        for name, entry in table.items()
    ]
    return tuple(sorted(made, key=lambda category: len(category.needs))), innocent


CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


class Moderator:
    """The model in memory: patterns, and the vectors of all examples. Threads may share one."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._categories, innocent = _categories()
        self._innocent: Vectors = embedder.embed(innocent).vectors
        self._examples: dict[str, Vectors] = {
            category.name: embedder.embed(category.examples).vectors
            for category in self._categories
            if category.examples
        }

    def scores(self, text: str, checkpoint: Callable[[], None]) -> tuple[dict[str, float], int]:
        """A score from 0 to 1 for each category: that of the worst sentence; and the tokens read."""
        sentences = _sentences(text)
        embedded = self._embedder.embed(sentences, checkpoint=checkpoint)
        worst = dict.fromkeys(CATEGORIES, 0.0)
        for sentence, vector in zip(sentences, embedded.vectors, strict=True):
            checkpoint()
            for name, score in self._of_sentence(plain(sentence), vector).items():
                worst[name] = max(worst[name], score)
        return {name: round(score, 6) for name, score in worst.items()}, embedded.tokens

    def _of_sentence(self, sentence: str, vector: Vectors) -> dict[str, float]:
        innocent = float(np.max(self._innocent @ vector, initial=0.0))
        found: dict[str, float] = {}
        for category in self._categories:
            examples = self._examples.get(category.name)
            like = 0.0 if examples is None else max(_UNLIKE, float(np.max(examples @ vector, initial=0.0)) - innocent)
            score = _score(category, sentence, like)
            # A kind of a category is never likelier than the category.
            found[category.name] = min([score, *(found[name] for name in category.needs)])
        # Threats are harassment, and a recipe for a bomb is one for a crime.
        for name in ("harassment", "illicit"):
            found[name] = max(
                found[name], found["harassment/threatening" if name == "harassment" else "illicit/violent"]
            )
        found["violence"] = max(found["violence"], found["violence/graphic"])
        return found


def _score(category: _Category, sentence: str, like: float) -> float:
    strong = category.strong is not None and category.strong.search(sentence) is not None
    weak = min(_MOST_WEAK, sum(pattern.search(sentence) is not None for pattern in category.weak))
    eased = category.discount is not None and category.discount.search(sentence) is not None
    total = _BIAS + _STRONG * strong + _WEAK * weak + _LIKE * like + _DISCOUNT * eased
    return 1 / (1 + math.exp(-total))


def plain(text: str) -> str:
    """Folded text, with letters that are written as digits, spread out or repeated put right."""
    folded = fold(text).replace("’", "'")
    folded = _SPACED.sub(lambda found: re.sub(r"[^\w]|_", "", found.group()), folded)
    folded = _MIXED.sub(
        lambda found: found.group().translate(_LEET) if not _age(found.group()) else found.group(), folded
    )
    return _LONG.sub(r"\1", folded)


def _age(word: str) -> bool:
    """`14yo` and the like are ages and no disguised words."""
    return word[0].isdigit() and word.lstrip("0123456789") in ("yo", "yr", "yrs", "th", "j", "d", "st")


def _sentences(text: str) -> list[str]:
    """The sentences of a text, and the whole of a short one: what is said may stand in two of them."""
    spans = [text[start:end] for start, end in split_sentences(text)]
    cut = [span[start : start + _SENTENCE_CHARS] for span in spans for start in range(0, len(span), _SENTENCE_CHARS)]
    whole = [text] if len(cut) > 1 and len(text) <= _SENTENCE_CHARS else []
    return [*cut, *whole] or [text[:_SENTENCE_CHARS]]


_lock = threading.Lock()


@cache
def _load_once() -> Moderator:
    return Moderator(shared_embedder())


def shared_moderator() -> Moderator:
    """The process's one Moderator, made on first use (about 20 ms besides the embedder's own loading)."""
    with _lock:
        return _load_once()


def read_moderation(body: dict[str, Any]) -> list[str]:
    """Validate the request; return its texts. Raises ProviderError(invalid_request)."""
    given = body.get("input")
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        raise invalid("input must be a text, or a list of texts that is not empty")
    if isinstance(items[0], dict):
        # OpenAI takes the parts of one multi-modal message, and gives one result for all of them.
        items = ["\n\n".join(_part(part) for part in items)]
    if len(items) > MAX_INPUTS:
        raise invalid(f"input may hold at most {MAX_INPUTS} texts")
    if not all(isinstance(item, str) for item in items):
        raise invalid("input must hold texts")
    if sum(map(len, items)) > MAX_INPUT_CHARS:
        raise invalid(f"input may hold at most {MAX_INPUT_CHARS} characters in total")
    return items


def _part(part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise invalid("the local model reads text only")
    return str(part["text"])


def write_moderation(
    model: str, identity: str, texts: list[str], moderator: Moderator, checkpoint: Callable[[], None]
) -> tuple[dict[str, Any], Usage]:
    """Run the model: OpenAI's moderation object, and the usage. `checkpoint` may raise to stop."""
    results = []
    tokens = 0
    for text in texts:
        scores, read = moderator.scores(text, checkpoint)
        tokens += read
        categories = {name: score >= FLAGGED_FROM for name, score in scores.items()}
        results.append(
            {
                "flagged": any(categories.values()),
                "categories": categories,
                "category_scores": scores,
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        )
    return {"id": identity, "model": model, "results": results}, Usage(tokens, 0, 0, tokens)
