"""Extractive summaries and key points: which sentences of a text stand for the whole, and how they are put together."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log2

from core.embedding import Embedder
from workers.providers.local.document import Document, parse
from workers.providers.local.instructions import MAX_COUNT, Shape, Wish
from workers.providers.local.language import Language, detect
from workers.providers.local.ranking import Ranked, rank
from workers.providers.local.readability import Leaning, read, starts_with_any
from workers.providers.local.selection import select, select_points

NOTHING = "There is no text to work on: the last user message is empty or holds no sentences."
# What a bullet ("- ", line end) costs besides its words.
_BULLET_TOKENS = 3

# These join sentences without a comma; dropping any other connective would leave a wrong word order behind.
_BARE = frozenset("and but or yet und aber denn mais et car pero y".split())
_NOT_TO_DROP = frozenset(
    "that is|so|etwa|first|firstly|second|secondly|third|thirdly|fourth|next|then|erstens|zweitens|drittens|d'abord|ensuite|puis"
    "|premièrement|deuxièmement|primero|segundo|tercero".split("|")
)
# A key point has nothing around it at all, so that pointing back costs it more than a sentence of a summary.
_POINT_WORTH = {Leaning.NONE: 1.0, Leaning.SLIGHT: 0.7, Leaning.STRONG: 0.4}
_ASIDE = re.compile(r"\s*\((?:see|siehe|vgl|cf|voir|véase|e\.g\.|z\. ?B\.)[^()]*\)", re.IGNORECASE)
_TAIL = re.compile(r"\s*;\s+.*$", re.DOTALL)
_MIN_WORDS_BEFORE_TAIL = 9
_LONG_WORDS = 32


@dataclass(frozen=True, slots=True)
class Extract:
    """An answer in pieces, which joined give the whole. `cut` says that the last piece had to be cut within a sentence."""

    pieces: list[str]
    cut: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def summarize(
    text: str, wish: Wish, max_tokens: int | None, embedder: Embedder, checkpoint: Callable[[], None]
) -> Extract:
    """A summary made of sentences of the text, unchanged and in order. As bullets if the wish says so."""
    if wish.shape is Shape.BULLETS:
        return key_points(text, wish, max_tokens, embedder, checkpoint)
    document = parse(text)
    checkpoint()
    size = len(document.sentences)
    if size == 0:
        return Extract([NOTHING])
    count = _wanted(wish, size, default=max(2, min(7, round(0.8 * log2(size + 1)))))
    ranked = rank(document, detect(_sample(document)), embedder, checkpoint)
    texts = [sentence.text for sentence in ranked.sentences]
    fits = _budget(texts, wish, max_tokens, embedder, extra=1)
    if len(texts) <= count and fits(list(range(len(texts)))):
        return Extract(_joined(texts, " "))
    chosen = select(ranked, count, fits, checkpoint)
    if not chosen:
        return _cut(texts[(ranked.lede or [0])[0]], max_tokens, embedder)
    return Extract(_joined([texts[index] for index in chosen], " "))


def key_points(
    text: str, wish: Wish, max_tokens: int | None, embedder: Embedder, checkpoint: Callable[[], None]
) -> Extract:
    """The most telling statement of each topic, in the text's order: Markdown bullets, or sentences if the wish says so."""
    document = parse(text)
    checkpoint()
    size = len(document.sentences)
    if size == 0:
        return Extract([NOTHING])
    count = _wanted(wish, size, default=max(3, min(9, round(0.8 * log2(size + 1)) + 2)))
    language = detect(_sample(document))
    ranked = _trimmed(rank(document, language, embedder, checkpoint), language)
    texts = [sentence.text for sentence in ranked.sentences]
    bullets = wish.shape is not Shape.PARAGRAPH
    fits = _budget(texts, wish, max_tokens, embedder, extra=_BULLET_TOKENS if bullets else 1)
    chosen = select_points(ranked, count, fits, checkpoint)
    if not chosen:
        return _cut(texts[0], max_tokens, embedder)
    points = [texts[index] for index in chosen]
    return Extract(_joined([f"- {point}" for point in points], "\n") if bullets else _joined(points, " "))


def trim(sentence: str, language: Language) -> str:
    """The statement without the words that tie it to its neighbours, and without what trails behind a semicolon."""
    text = _ASIDE.sub("", sentence)
    for _ in range(2):
        text = _without_connective(text, language)
    head = _TAIL.sub("", text)
    if head != text and len(text.split()) > _LONG_WORDS and len(head.split()) >= _MIN_WORDS_BEFORE_TAIL:
        text = head.rstrip(" ,:–—-") + "."
    return text


def _without_connective(text: str, language: Language) -> str:
    phrase = starts_with_any(text.lower().replace("’", "'"), language.connectives)
    if not phrase:
        return text
    rest = text[len(phrase) :]
    if rest.startswith(", ") and phrase not in _NOT_TO_DROP:
        rest = rest[2:]
    elif phrase in _BARE and rest.startswith(" "):
        rest = rest[1:]
    else:
        return text
    rest = rest.lstrip()
    return rest[:1].upper() + rest[1:] if len(rest) > 1 else text


def _trimmed(ranked: Ranked, language: Language) -> Ranked:
    """The same ranking over trimmed sentences, judged anew: without its "However," many a sentence stands on its own."""
    sentences = [replace(sentence, text=trim(sentence.text, language)) for sentence in ranked.sentences]
    readings = [read(sentence, language) for sentence in sentences]
    readings = [replace(reading, worth=reading.worth * _POINT_WORTH[reading.leaning]) for reading in readings]
    return replace(ranked, sentences=sentences, readings=readings)


def _wanted(wish: Wish, size: int, default: int) -> int:
    """How many sentences or points to look for; a limit in words lets the words decide."""
    if wish.count is not None:
        return min(wish.count, MAX_COUNT)
    if wish.words is not None:
        return min(size, MAX_COUNT)
    return max(1, round(default * wish.scale))


def _budget(
    texts: list[str], wish: Wish, max_tokens: int | None, embedder: Embedder, extra: int
) -> Callable[[list[int]], bool]:
    """A test whether a set of sentences keeps within the limits in tokens and words. The word limit never forbids the first."""
    tokens: dict[int, int] = {}

    def cost(index: int) -> int:
        if index not in tokens:
            tokens[index] = embedder.count_tokens([texts[index]]) + extra
        return tokens[index]

    def fits(chosen: list[int]) -> bool:
        if max_tokens is not None and sum(cost(index) for index in chosen) > max_tokens:
            return False
        return (
            wish.words is None or len(chosen) == 1 or sum(len(texts[index].split()) for index in chosen) <= wish.words
        )

    return fits


def _cut(text: str, max_tokens: int | None, embedder: Embedder) -> Extract:
    """The beginning of a sentence: for limits that no whole sentence meets."""
    words = text.split(" ")
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if max_tokens is None or embedder.count_tokens([" ".join(words[:middle])]) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return Extract([" ".join(words[:low])], cut=True)


def _joined(texts: list[str], separator: str) -> list[str]:
    """The texts as pieces to send one by one: the separator goes before each but the first."""
    return [text if number == 0 else separator + text for number, text in enumerate(texts)]


def _sample(document: Document) -> str:
    return " ".join(sentence.text for sentence in document.sentences[:60])
