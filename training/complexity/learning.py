"""How weights are learned from prompts, and what they tell of others."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.complexity.classifier import DEMANDING, SURE, TIERS, Weights, classify, rounded_up
from training.complexity.labelled import Measured, Places, Prompt

Floats = NDArray[np.float64]

_FOLDS: Final = 5
# Found by cross-validation on the training part: a stronger voice for the embedding, or hashed words and n-grams beside it,
# learn the training prompts by heart without judging others better.
EMBEDDING_SCALE: Final = 1.5
LEXICAL_SCALE: Final = 0.25
PENALTY: Final = 0.004
_STEPS: Final = 400


def fit(data: Measured, penalty: float = PENALTY) -> Weights:
    """Multinomial logistic regression with a quadratic penalty, by accelerated gradient descent from zero."""
    mean = data.lexical.mean(axis=0)
    scale = 1 / (data.lexical.std(axis=0) + 1e-3)
    standard = Weights(mean, scale, mean, mean, mean).standardised(data.lexical)
    rows = len(data.tiers)
    inputs: Floats = np.hstack(
        [np.ones((rows, 1)), data.embedded * EMBEDDING_SCALE, standard * LEXICAL_SCALE], dtype=np.float64
    )
    learned = _descend(inputs, np.eye(len(TIERS))[data.tiers], penalty)
    width = data.embedded.shape[1]
    embedding, words = learned[1 : 1 + width] * EMBEDDING_SCALE, learned[1 + width :] * LEXICAL_SCALE
    # Half precision is what is stored, so it is what is judged.
    stored = (part.astype(np.float16).astype(np.float32) for part in (mean, scale, words, embedding, learned[0]))
    return Weights(*stored)


def _descend(inputs: Floats, wanted: Floats, penalty: float) -> Floats:
    rows = len(inputs)
    step = 1 / (0.5 * np.linalg.norm(inputs, 2) ** 2 / rows + penalty)
    weights = ahead = np.zeros((inputs.shape[1], wanted.shape[1]))
    momentum = 1.0
    for _ in range(_STEPS):
        scores = inputs @ ahead
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        moved = ahead - step * (inputs.T @ (shares - wanted) / rows + penalty * ahead)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - weights)
        weights, momentum = moved, following
    return weights


def judge(weights: Weights, data: Measured, sure: float = SURE, demanding: float = DEMANDING) -> Places:
    """The tiers that the classifier tells, rounding up included."""
    shares = weights.probabilities(data.lexical, data.embedded)
    return np.array([rounded_up(row, sure, demanding) for row in shares])


def told_of(prompts: Sequence[Prompt], data: Measured, weights: Weights) -> Places:
    """What callers are told of these prompts: as `judge`, and with the doubts about other languages."""
    verdicts = (classify(prompt.text, vector, weights) for prompt, vector in zip(prompts, data.embedded, strict=True))
    return np.array([TIERS.index(verdict.tier) for verdict in verdicts])


def cross_validated(data: Measured, sure: float = SURE, demanding: float = DEMANDING) -> Places:
    """What is told of each prompt by weights that never saw it."""
    told = np.zeros(len(data.tiers), dtype=np.int64)
    folds = np.random.default_rng(7).permutation(len(told)) % _FOLDS
    for fold in range(_FOLDS):
        told[folds == fold] = judge(fit(data.part(folds != fold)), data.part(folds == fold), sure, demanding)
    return told
