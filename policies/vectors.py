"""Vectors of different lengths made comparable: all of one embedder end up with `DIMENSIONS` numbers and unit length. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

DIMENSIONS: Final = 256
#: The longest vector of an embedder that is looked at: a matrix of 8 MB.
LONGEST: Final = 8192
_SEED: Final = 4_270_197


def fitted(vector: Sequence[float] | NDArray[np.float32]) -> tuple[float, ...] | None:
    """Return a vector of any embedder with `DIMENSIONS` numbers and unit length; None for one that says nothing.

    A shorter one is filled up with zeros, which changes no angle. A longer one is projected at random, in the same way every time
    and everywhere: its cosine with another one stays within about (1 - cosine²) / 16 of what it was (the standard error of such a
    projection to 256 dimensions), 0.012 at a cosine of 0.9.
    """
    given = np.asarray(vector, dtype=np.float32)
    if given.ndim != 1 or not 0 < len(given) <= LONGEST or not np.all(np.isfinite(given)):
        return None
    if len(given) < DIMENSIONS:
        given = np.pad(given, (0, DIMENSIONS - len(given)))
    elif len(given) > DIMENSIONS:
        given = given @ _projection(len(given))
    length = float(np.linalg.norm(given))
    if length == 0 or not np.isfinite(length):
        return None
    return tuple((given / length).tolist())


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two vectors of unit length."""
    return float(np.dot(np.asarray(one, dtype=np.float32), np.asarray(other, dtype=np.float32)))


@lru_cache(maxsize=4)
def _projection(length: int) -> NDArray[np.float32]:
    # The old generator's stream is frozen for ever; vectors that were stored stay comparable.
    return np.random.RandomState(_SEED).standard_normal((length, DIMENSIONS)).astype(np.float32)
