"""Which sentences say most of what a text says: centrality, position and likeness to the title, as numbers between 0 and 1."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.embedding import Embedder
from workers.providers.local.document import Document, Kind, Sentence
from workers.providers.local.language import Language, words_of
from workers.providers.local.readability import Reading, read

Floats = NDArray[np.float32]

# Similarities are a square matrix: 1,800 sentences are 13 MB. Of longer texts only the most promising sentences compete.
MAX_CANDIDATES = 1_800
_MAX_TERMS = 2_000
_DAMPING = 0.85
_POWER_STEPS = 30
_HEAD_CHARS = 30
_MIN_TO_STRETCH = 8
_DEFINITE = re.compile(r"(?:the|der|die|das|le|la|les|el|los|las)\s|l['’]", re.IGNORECASE)

_CONCLUSIONS = (
    "conclusion",
    "summary",
    "lessons",
    "takeaway",
    "outlook",
    "in short",
    "fazit",
    "zusammenfassung",
    "ausblick",
    "schluss",
    "bilan",
    "résumé",
    "conclusión",
    "resumen",
)
_ASIDES = (
    "appendix",
    "references",
    "further reading",
    "glossary",
    "acknowledg",
    "notes",
    "footnotes",
    "bibliography",
    "licen",
    "anhang",
    "literatur",
    "quellen",
    "glossar",
    "annexe",
    "références",
    "glosario",
    "referencias",
    "table of contents",
)


@dataclass(slots=True)
class Ranked:
    """The competing sentences of a text, in its order, with what the selection needs. All arrays have one entry per sentence.

    `score` is how much a sentence deserves to be in a summary, its own readability left aside; `similarity` is symmetric with
    values from 0 to 1; `features` are unit vectors for clustering; `section` is the number of the sentence's section
    or, in a text without sections, of its stretch.
    """

    sentences: list[Sentence]
    readings: list[Reading]
    score: Floats
    similarity: Floats
    features: Floats
    section: NDArray[np.int64]
    lede: list[int]


def rank(document: Document, language: Language, embedder: Embedder, checkpoint: Callable[[], None]) -> Ranked:
    """Score the sentences of a text. `checkpoint` is called between steps and may raise to stop."""
    terms = [_terms(sentence.text, language) for sentence in document.sentences]
    checkpoint()
    readings = [read(sentence, language) for sentence in document.sentences]
    checkpoint()
    keep = _candidates(document.sentences, terms, readings)
    sentences = [document.sentences[index] for index in keep]
    readings = [readings[index] for index in keep]
    terms = [terms[index] for index in keep]
    texts = [sentence.text for sentence in sentences]
    headings = [document.title, *document.headings]
    vectors = embedder.embed(texts + headings, checkpoint=checkpoint).vectors
    meaning, topics = vectors[: len(texts)], vectors[len(texts) :]
    checkpoint()
    centred = _unit(meaning - meaning.mean(axis=0))
    similarity = 0.55 * np.clip(centred @ centred.T, 0, 1) + 0.45 * _lexical_similarity(terms)
    np.fill_diagonal(similarity, 1.0)
    checkpoint()
    section = np.asarray([sentence.section for sentence in sentences], dtype=np.int64)
    score = (
        1.0 * _scaled(_page_rank(similarity))
        + 0.6 * _scaled(meaning @ _unit(meaning.mean(axis=0, keepdims=True))[0])
        + 0.7 * _scaled(_term_weight(terms))
        + 0.5 * _topic_likeness(meaning, topics, section)
        + _position(sentences, document)
        + _cues(texts, language)
    ).astype(np.float32)
    score *= _introduced(sentences, terms, headings, language)
    return Ranked(
        sentences, readings, score, similarity.astype(np.float32), centred, _stretches(section), _lede(sentences)
    )


def _stretches(section: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sections numbered anew, where a section that dominates the text (or is all of it) counts as several of equal length."""
    size = len(section)
    stretches = np.zeros(size, dtype=np.int64)
    number = 0
    for value in np.unique(section):
        members = np.flatnonzero(section == value)
        parts = max(1, round(4 * len(members) / size)) if size >= _MIN_TO_STRETCH else 1
        stretches[members] = number + np.arange(len(members)) * parts // len(members)
        number += parts
    return stretches


def _terms(text: str, language: Language) -> list[str]:
    """Content words, cut to a stem-like prefix so that inflected forms meet."""
    return [
        word[:7] if len(word) > 7 else word.rstrip("s")
        for word in words_of(text)
        if word not in language.stopwords and len(word) > 2
    ]


def _candidates(sentences: Sequence[Sentence], terms: list[list[str]], readings: list[Reading]) -> list[int]:
    """Positions of the sentences that compete, in order: those that stand alone best, if there are too many."""
    first = {sentence.text.casefold(): index for index, sentence in reversed(list(enumerate(sentences)))}
    unique = sorted(first.values())  # of repeated sentences (footers, refrains) the first one speaks for all
    usable = [index for index in unique if readings[index].words >= 3] or unique
    if len(usable) <= MAX_CANDIDATES:
        return usable
    cheap = _scaled(_term_weight(terms))
    usable.sort(key=lambda index: (-(0.3 + float(cheap[index])) * readings[index].worth, index))
    return sorted(usable[:MAX_CANDIDATES])


def _lexical_similarity(terms: list[list[str]]) -> Floats:
    """Cosine of tf-idf vectors over the words that at least two sentences share."""
    frequency = Counter(term for sentence in terms for term in set(sentence))
    shared = sorted(
        (term for term, count in frequency.items() if count > 1), key=lambda term: (-frequency[term], term)
    )[:_MAX_TERMS]
    column = {term: number for number, term in enumerate(shared)}
    matrix = np.zeros((len(terms), max(1, len(shared))), dtype=np.float32)
    for row, sentence in enumerate(terms):
        for term in sentence:
            if term in column:
                matrix[row, column[term]] += 1.0
    if shared:
        matrix *= np.log(len(terms) / np.asarray([frequency[term] for term in shared], dtype=np.float32) + 1.0)
    matrix = _unit(matrix)
    return matrix @ matrix.T


def _page_rank(similarity: Floats) -> Floats:
    """LexRank: a sentence counts for as much as the sentences that resemble it."""
    links = np.where(similarity > 0.1, similarity, 0.0).astype(np.float32)
    np.fill_diagonal(links, 0.0)
    outgoing = links.sum(axis=1, keepdims=True)
    np.divide(links, outgoing, out=links, where=outgoing > 0)
    size = len(links)
    weight = np.full(size, 1.0 / max(1, size), dtype=np.float32)
    for _ in range(_POWER_STEPS):
        weight = (1 - _DAMPING) / max(1, size) + _DAMPING * (weight @ links)
    return weight


def _term_weight(terms: list[list[str]]) -> Floats:
    """How frequent a sentence's words are in the whole text, on average, long sentences not favoured."""
    frequency = Counter(term for sentence in terms for term in sentence)
    total = max(1, sum(frequency.values()))
    weights = [
        sum(np.sqrt(frequency[term] / total) for term in set(sentence)) / (len(set(sentence)) + 3) if sentence else 0.0
        for sentence in terms
    ]
    return np.asarray(weights, dtype=np.float32)


def _topic_likeness(meaning: Floats, topics: Floats, section: NDArray[np.int64]) -> Floats:
    """Likeness to the title (half) and to the heading of the sentence's own section (half)."""
    title = _scaled(meaning @ topics[0])
    own = _scaled(np.einsum("ij,ij->i", meaning, topics[1 + section]))
    return 0.5 * title + 0.5 * own


def _position(sentences: Sequence[Sentence], document: Document) -> Floats:
    """Openings state topics and endings state results; appendices state neither."""
    bonus = np.zeros(len(sentences), dtype=np.float32)
    blocks = sorted({(sentence.section, sentence.block) for sentence in sentences})
    first_block = dict(reversed(blocks))
    # Towards its end a section tends to details and exceptions.
    depth = {block: number for number, (_, block) in enumerate(blocks)}
    last_block = blocks[-1][1] if blocks else 0
    bonus[_lede(sentences)] += 0.45
    for index, sentence in enumerate(sentences):
        heading = document.headings[sentence.section].lower()
        if sentence.place == 0 and sentence.block_size > 1:
            bonus[index] += 0.25
        if sentence.block == first_block[sentence.section]:
            bonus[index] += 0.4 if sentence.place == 0 else 0.1
        else:
            bonus[index] -= 0.08 * min(4, depth[sentence.block] - depth[first_block[sentence.section]])
        if sentence.block == last_block and sentence.kind is not Kind.ITEM:
            bonus[index] += 0.25
        if any(word in heading for word in _CONCLUSIONS):
            bonus[index] += 0.9
        if any(word in heading for word in _ASIDES):
            bonus[index] -= 1.0
    return bonus


def _cues(texts: Sequence[str], language: Language) -> Floats:
    """Words that announce a result or a cause; at the head of a sentence they count double."""
    found = []
    for text in map(str.lower, texts):
        hits = sum(1 + (cue in text[:_HEAD_CHARS]) for cue in language.cues if cue in text)
        found.append(0.2 * min(3, hits))
    return np.asarray(found, dtype=np.float32)


def _introduced(
    sentences: Sequence[Sentence], terms: list[list[str]], headings: Sequence[str], language: Language
) -> Floats:
    """A factor below 1 for "The persuasion …" where the persuasion was introduced a sentence or two earlier.

    Words of the title, of a heading or of the text's main topics need no introduction.
    """
    known = {term for heading in headings for term in _terms(heading, language)}
    frequency = Counter(term for sentence in terms for term in set(sentence))
    factor = np.ones(len(sentences), dtype=np.float32)
    for index, sentence in enumerate(sentences):
        if not terms[index] or not _DEFINITE.match(sentence.text):
            continue
        subject = terms[index][0]
        recent = {term for earlier in terms[max(0, index - 3) : index] for term in earlier}
        if subject in recent and subject not in known and frequency[subject] <= max(3, len(sentences) // 40):
            factor[index] = 0.55
    return factor


def _lede(sentences: Sequence[Sentence]) -> list[int]:
    """The sentences that may open a summary: the first three of prose, within the first paragraph if it has several."""
    prose = [index for index, sentence in enumerate(sentences) if sentence.kind is Kind.PROSE]
    first = [index for index in prose if sentences[index].block == sentences[prose[0]].block]
    return (first if len(first) > 1 else prose)[:3]


def _scaled(values: Floats) -> Floats:
    """Values as ranks between 0 and 1 mixed with their linear scale, so that neither outliers nor ties dominate."""
    if len(values) < 2:
        return np.ones(len(values), dtype=np.float32)
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable") / (len(values) - 1)
    spread = float(values.max() - values.min())
    linear = (values - values.min()) / spread if spread > 0 else np.ones_like(values)
    return (0.5 * order + 0.5 * linear).astype(np.float32)


def _unit(matrix: Floats) -> Floats:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    result: Floats = np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)
    return result
