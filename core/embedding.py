"""Text embeddings from the wordllama weights that lie inside the installed package: no key, no download, no GPU.

The files are read directly instead of through `wordllama.WordLlama`: importing that package takes half a second and configures
the root logger, and its `embed` pads a batch to its longest text, so that one long text among 64 costs gigabytes.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

Vectors = NDArray[np.float32]

DIMENSIONS = 256
# The model is trained so that its first 64 or 128 dimensions are usable on their own once renormalised.
SUPPORTED_DIMENSIONS = (64, 128, 256)

# Bounds on what one step holds in memory, and on how long it keeps the interpreter lock or delays a cancellation.
_TEXTS_PER_STEP = 128
_CHARS_PER_STEP = 64_000
_TOKENS_PER_GATHER = 8_192


def _never() -> None:
    """The checkpoint of a caller who does not cancel."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors` has one unit-length row per text; `tokens` is how many tokens all texts had together."""

    vectors: Vectors
    tokens: int


class Embedder:
    """The model in memory (about 16 MB). Stateless after loading, so threads may share one."""

    def __init__(self, table: NDArray[np.float16], tokenizer: Tokenizer) -> None:
        self._table = table
        self._tokenizer = tokenizer

    @classmethod
    def load(cls) -> "Embedder":
        """Read weights and tokenizer from the installed wordllama package. Raises FileNotFoundError without it."""
        spec = find_spec("wordllama")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                "the package wordllama, which holds the weights of the local models, is not installed"
            )
        folder = Path(spec.submodule_search_locations[0])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        with safe_open(folder / "weights" / "l2_supercat_256.safetensors", framework="np") as weights:
            table = weights.get_tensor("embedding.weight").astype(np.float16, copy=False)
        return cls(np.ascontiguousarray(table), tokenizer)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the texts have together."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return sum(len(encoding) for encoding in encodings)

    def embed(
        self, texts: Sequence[str], dimensions: int = DIMENSIONS, checkpoint: Callable[[], None] = _never
    ) -> Embedded:
        """Embed texts into unit vectors of `dimensions` (64, 128 or 256) float32 values.

        `checkpoint` is called between steps; whatever it raises ends the work. A text without any token gets the zero vector.
        Raises ValueError for other dimensions.
        """
        if dimensions not in SUPPORTED_DIMENSIONS:
            raise ValueError(f"dimensions must be one of {SUPPORTED_DIMENSIONS}")
        vectors = np.zeros((len(texts), dimensions), dtype=np.float32)
        tokens = 0
        for start, stop in _steps(texts):
            checkpoint()
            encodings = self._tokenizer.encode_batch_fast(list(texts[start:stop]), add_special_tokens=False)
            for row, encoding in enumerate(encodings, start):
                tokens += len(encoding)
                vectors[row] = self._sum_of_rows(encoding.ids, dimensions)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return Embedded(vectors, tokens)

    def _sum_of_rows(self, ids: Sequence[int], dimensions: int) -> Vectors:
        """The sum of the tokens' rows: normalised, it equals the normalised mean."""
        total = np.zeros(dimensions, dtype=np.float32)
        for start in range(0, len(ids), _TOKENS_PER_GATHER):
            rows = np.asarray(ids[start : start + _TOKENS_PER_GATHER], dtype=np.int64)
            total += self._table[:, :dimensions][rows].sum(axis=0, dtype=np.float32)
        return total


def _steps(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Consecutive slices of the texts, each bounded in number and in characters (a single long text stands alone)."""
    steps: list[tuple[int, int]] = []
    start = chars = 0
    for index, text in enumerate(texts):
        if index > start and (index - start >= _TEXTS_PER_STEP or chars + len(text) > _CHARS_PER_STEP):
            steps.append((start, index))
            start, chars = index, 0
        chars += len(text)
    if texts:
        steps.append((start, len(texts)))
    return steps


_lock = threading.Lock()


@cache
def _load_once() -> Embedder:
    return Embedder.load()


def shared_embedder() -> Embedder:
    """The process's one Embedder, loaded on first use (0.2 s): call it once off the event loop to warm up."""
    # The cache alone would let two threads that come first load the model twice.
    with _lock:
        return _load_once()
