"""The two ways in which embeddings travel: lists of numbers, or base64 of float32, little-endian. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

EMBEDDINGS: Final = "/v1/embeddings"
FLOAT: Final = "float"
BASE64: Final = "base64"
#: What a request may ask for without asking for another answer.
ENCODINGS: Final = frozenset({FLOAT, BASE64})
_BYTES: Final = 4

Vector = NDArray[np.float32]


class NotRecodable(ValueError):
    """The answer's embeddings are in neither encoding, or not all numbers that float32 can hold."""


def encoding_of(body: Mapping[str, Any]) -> str:
    """Return how a request wants its embeddings: `float` unless it says otherwise."""
    asked = body.get("encoding_format")
    return asked if isinstance(asked, str) else FLOAT


def recoded(answer: Mapping[str, Any], encoding: str) -> dict[str, Any]:
    """Return an answer with all its embeddings in one encoding.

    A number is rounded to float32, as upstreams do before they send base64. Everything else stays as it is.

    Args:
        answer: the body of an answer; it is not changed.
        encoding: `float` or `base64`.

    Returns:
        The answer. An embedding that was base64 and is wanted as numbers becomes an array of float32, to be written with the
        fewest digits that tell each apart; read back as float32 they are the same, bit by bit.

    Raises:
        NotRecodable: when an embedding is in neither encoding, or the encoding is neither.
    """
    if encoding not in ENCODINGS:
        raise NotRecodable(f"{encoding!r} is no encoding of embeddings")
    items = answer.get("data")
    if not isinstance(items, list):
        raise NotRecodable("the answer holds no embeddings")
    return {**answer, "data": [_item(item, encoding) for item in items]}


def _item(item: Any, encoding: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise NotRecodable("an item is no object")
    value = item.get("embedding")
    if isinstance(value, str):
        return dict(item) if encoding == BASE64 else {**item, "embedding": _unpacked(value)}
    if not isinstance(value, list):
        raise NotRecodable("an embedding is neither numbers nor base64")
    return dict(item) if encoding == FLOAT else {**item, "embedding": _packed(value)}


def _packed(numbers: list[Any]) -> str:
    # Of what is no list of numbers numpy makes other arrays, or texts, or fails: none of that is an embedding.
    if not all(type(number) in (int, float) for number in numbers):
        raise NotRecodable("an embedding is not all numbers")
    try:
        with np.errstate(over="raise"):
            vector: Vector = np.asarray(numbers, dtype="<f8").astype("<f4")
    except (OverflowError, FloatingPointError) as error:
        raise NotRecodable("a number is too large for float32") from error
    if not np.isfinite(vector).all():
        raise NotRecodable("a number is not finite")
    return base64.b64encode(vector.tobytes()).decode()


def _unpacked(text: str) -> Vector:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NotRecodable("an embedding is no base64") from error
    if len(raw) % _BYTES:
        raise NotRecodable("an embedding is no sequence of float32")
    vector: Vector = np.frombuffer(raw, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise NotRecodable("a number of an embedding is not finite")
    return vector
