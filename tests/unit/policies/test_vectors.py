"""Vectors of any length, made comparable."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.vectors import DIMENSIONS, cosine, fitted

LENGTHS = st.integers(2, 2000)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


@given(SEEDS, LENGTHS)
def test_every_vector_ends_up_with_the_stored_length_and_unit_norm(seed: int, length: int) -> None:
    found = fitted(drawn(seed, length))
    assert found is not None
    assert len(found) == DIMENSIONS
    assert math.isclose(cosine(found, found), 1, abs_tol=1e-5)


@given(SEEDS, st.integers(2, DIMENSIONS))
def test_a_short_vector_keeps_its_angles(seed: int, length: int) -> None:
    one, other = drawn(seed, length), drawn(seed + 1, length)
    true = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    first, second = fitted(one), fitted(other)
    assert first is not None and second is not None
    assert math.isclose(cosine(first, second), true, abs_tol=1e-4)


@given(SEEDS, st.sampled_from([384, 768, 1536, 3072]), st.floats(0.7, 0.99))
def test_a_long_vector_nearly_keeps_the_angles_of_near_hits(seed: int, length: int, wanted: float) -> None:
    one, aside = drawn(seed, length), drawn(seed + 1, length)
    one /= np.linalg.norm(one)
    aside -= (aside @ one) * one
    other = wanted * one + math.sqrt(1 - wanted**2) * aside / np.linalg.norm(aside)
    first, second = fitted(one), fitted(other)
    assert first is not None and second is not None
    # Six standard errors, and the two lengths are estimates too.
    assert abs(cosine(first, second) - wanted) <= 6 * (1 - wanted**2) / 16


def test_the_projection_is_the_same_everywhere_and_for_ever() -> None:
    found = fitted([1.0] + [0.0] * 1535)
    assert found is not None
    assert found[:3] == pytest.approx((-0.068806, -0.011013, 0.038546), abs=1e-5)


@pytest.mark.parametrize(
    "nothing", [[], [0.0] * 300, [float("nan")] * 256, [float("inf"), 1.0], [[1.0]], [1.0] * 10_000]
)
def test_what_says_nothing_is_no_vector(nothing: list[float]) -> None:
    assert fitted(nothing) is None
