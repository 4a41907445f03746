"""`/v1/embeddings` for the local embedding model."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.embedding import DIMENSIONS, SUPPORTED_DIMENSIONS, Embedder, Vectors
from workers.providers.local.chat import invalid
from workers.providers.protocol import Usage

MAX_INPUTS = 2_048
MAX_INPUT_CHARS = 4_000_000
_STEP = 256


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """A request after validation."""

    texts: list[str]
    dimensions: int
    as_base64: bool


def read_embeddings(body: dict[str, Any]) -> EmbeddingsRequest:
    """Validate the request. Raises ProviderError(invalid_request)."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise invalid("input must be a string or a list of strings that is not empty")
    if len(texts) > MAX_INPUTS:
        raise invalid(f"input may hold at most {MAX_INPUTS} strings")
    if any(not isinstance(text, str) for text in texts):
        raise invalid("local models take strings, not token arrays: tokens of other models mean nothing to them")
    if any(not text for text in texts):
        raise invalid("input strings must not be empty")
    if sum(map(len, texts)) > MAX_INPUT_CHARS:
        raise invalid(f"input may hold at most {MAX_INPUT_CHARS} characters in total")
    dimensions = DIMENSIONS if body.get("dimensions") is None else body["dimensions"]
    if isinstance(dimensions, bool) or dimensions not in SUPPORTED_DIMENSIONS:
        raise invalid(f"dimensions must be one of {', '.join(map(str, SUPPORTED_DIMENSIONS))}")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format must be float or base64")
    return EmbeddingsRequest(texts, int(dimensions), encoding == "base64")


def write_embeddings(
    model: str, request: EmbeddingsRequest, embedder: Embedder, checkpoint: Callable[[], None]
) -> tuple[dict[str, Any], Usage]:
    """Run the model: the OpenAI `list` of embeddings, and the usage. `checkpoint` may raise to stop."""
    embedded = embedder.embed(request.texts, request.dimensions, checkpoint)
    data: list[dict[str, Any]] = []
    for start in range(0, len(request.texts), _STEP):
        checkpoint()
        rows = _encoded(embedded.vectors[start : start + _STEP], request.as_base64)
        data += [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows, start)]
    usage = Usage(embedded.tokens, 0, 0, embedded.tokens)
    counts = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return {"object": "list", "model": model, "data": data, "usage": counts}, usage


def _encoded(vectors: Vectors, as_base64: bool) -> list[Any]:
    if not as_base64:
        rows: list[Any] = vectors.tolist()
        return rows
    little_endian = vectors.astype("<f4", copy=False)
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in little_endian]
