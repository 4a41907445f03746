"""`/v1/rerank` with the local embedder: documents by likeness to a query, in meaning and in words.

The embedder knows English best: there it alone is nearly enough, and words add little. In other languages the words carry the
ranking and the meaning helps where none match. The test `test_rerank.py` measures each of them and both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from core.embedding import Embedder
from workers.providers.local.chat import invalid
from workers.providers.local.lexical import Floats, bm25, terms
from workers.providers.protocol import Usage

MAX_DOCUMENTS: Final = 2_000
MAX_CHARS: Final = 4_000_000
_WORDS_SHARE: Final = 0.6
# A long document is as relevant as its best passage: the meaning of all of it at once would be that of nothing.
_PASSAGE_CHARS: Final = 400
_OVERLAP_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A request after validation."""

    query: str
    documents: list[str]
    top: int
    with_documents: bool


def read_rerank(body: dict[str, Any]) -> RerankRequest:
    """Validate the request of Cohere's and Jina's shape. Raises ProviderError(invalid_request)."""
    query = body.get("query")
    if not isinstance(query, str) or not query.strip():
        raise invalid("query must be a text")
    given = body.get("documents")
    if not isinstance(given, list) or not given:
        raise invalid("documents must be a list of texts, or of objects with a text, that is not empty")
    if len(given) > MAX_DOCUMENTS:
        raise invalid(f"documents may hold at most {MAX_DOCUMENTS} texts")
    documents = [_text(document) for document in given]
    if len(query) + sum(map(len, documents)) > MAX_CHARS:
        raise invalid(f"query and documents may hold at most {MAX_CHARS} characters in total")
    top = len(documents) if body.get("top_n") is None else body["top_n"]
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise invalid("top_n must be a whole number of at least 1")
    return RerankRequest(query, documents, top, body.get("return_documents") is True)


def _text(document: Any) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        raise invalid("documents must be texts, or objects with a text")
    return text


def relevance(
    query: str, documents: list[str], embedder: Embedder, checkpoint: Callable[[], None]
) -> tuple[Floats, int]:
    """A score from 0 to 1 for each document, and the tokens read."""
    likeness, tokens = _likeness(query, documents, embedder, checkpoint)
    read: list[list[str]] = []
    for document in documents:
        checkpoint()
        read.append(terms(document))
    mixed = _WORDS_SHARE * bm25(terms(query), read) + (1 - _WORDS_SHARE) * likeness
    return np.clip(mixed, 0.0, 1.0).astype(np.float32), tokens


def _likeness(
    query: str, documents: list[str], embedder: Embedder, checkpoint: Callable[[], None]
) -> tuple[Floats, int]:
    """The cosine between the query and each document's most similar passage; never below 0."""
    passages: list[str] = []
    owner: list[int] = []
    for number, document in enumerate(documents):
        for passage in _passages(document):
            passages.append(passage)
            owner.append(number)
    embedded = embedder.embed([query, *passages], checkpoint=checkpoint)
    best = np.zeros(len(documents), dtype=np.float32)
    np.maximum.at(best, np.asarray(owner, dtype=np.int64), embedded.vectors[1:] @ embedded.vectors[0])
    return best, embedded.tokens


def _passages(document: str) -> Iterator[str]:
    """Stretches of a document that overlap a little, so that no sentence is lost in a cut."""
    step = _PASSAGE_CHARS - _OVERLAP_CHARS
    for start in range(0, max(1, len(document) - _OVERLAP_CHARS), step):
        yield document[start : start + _PASSAGE_CHARS]


def write_rerank(
    model: str, identity: str, request: RerankRequest, embedder: Embedder, checkpoint: Callable[[], None]
) -> tuple[dict[str, Any], Usage]:
    """Run the model: the answer, best document first, and the usage. `checkpoint` may raise to stop."""
    scores, tokens = relevance(request.query, request.documents, embedder, checkpoint)
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    results: list[dict[str, Any]] = []
    for index in order[: request.top]:
        result: dict[str, Any] = {"index": index, "relevance_score": round(float(scores[index]), 6)}
        if request.with_documents:
            result["document"] = {"text": request.documents[index]}
        results.append(result)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"id": identity, "model": model, "results": results, "usage": usage}, Usage(tokens, 0, 0, tokens)
