"""Words as the small models compare them: folded, without function words, cut to stems; and BM25 over them."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.providers.local.language import LANGUAGES

Floats = NDArray[np.float32]

_WORD: Final = re.compile(r"\w+")
_ENDING: Final = re.compile(r"(?:es|en|er|s|e|n)$")
_STEM: Final = 6
# BM25's usual settings, but for a weaker penalty on length: documents to be ranked are passages of like size.
_K1: Final = 1.2
_B: Final = 0.5


def fold(text: str) -> str:
    """Lower case without accents, so that `Öffnungszeiten` and `offnungszeiten` meet."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def terms(text: str) -> list[str]:
    """The content words of a text in any of our languages, cut to a stem-like beginning."""
    stopwords = _stopwords()
    return [_stem(word) for word in _WORD.findall(fold(text)) if len(word) > 1 and word not in stopwords]


@cache
def _stopwords() -> frozenset[str]:
    return frozenset(fold(word) for language in LANGUAGES for word in language.stopwords)


def _stem(word: str) -> str:
    if len(word) > _STEM:
        return word[:_STEM]
    return _ENDING.sub("", word) if len(word) > 3 else word


def bm25(query: Sequence[str], documents: Sequence[Sequence[str]]) -> Floats:
    """How well each document covers the query's terms: 0 for none of them, towards 1 for all of them, often.

    Term weights come from the documents themselves: a term that all of them hold tells nothing.
    """
    wanted = set(query)
    size = len(documents)
    found = Counter(term for document in documents for term in wanted.intersection(document))
    weight = {term: math.log(1 + (size - found[term] + 0.5) / (found[term] + 0.5)) for term in wanted}
    most = sum(weight.values()) * (_K1 + 1)
    if not most:
        return np.zeros(size, dtype=np.float32)
    mean = sum(map(len, documents)) / size or 1.0
    scores = np.zeros(size, dtype=np.float32)
    for row, document in enumerate(documents):
        counts = Counter(term for term in document if term in wanted)
        damped = _K1 * (1 - _B + _B * len(document) / mean)
        scores[row] = sum(weight[term] * count * (_K1 + 1) / (count + damped) for term, count in counts.items()) / most
    return scores
