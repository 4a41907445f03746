"""From features to a tier: multinomial logistic regression, rounded up where it is unsure."""

import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.complexity.features import NAMES, Parts, Vector, lexical, parts_of, words_of
from policies.complexity.languages import doubt
from policies.complexity.wording import hint

#: From the least demanding prompts to the most demanding.
TIERS: Final = ("simple", "medium", "complex", "reasoning")
EMBEDDED: Final = 256
# A model that is too large costs a little money, one that is too small costs the answer: so what is unsure is rounded up. Both
# thresholds were chosen by cross-validation on the training part.
#: Below this probability of the best tier, the higher of the two best is taken.
SURE: Final = 0.6
#: From this probability on of complex and reasoning together, one of them is taken, whatever else is more likely.
DEMANDING: Final = 0.35

WEIGHTS: Final = "weights.npz"
_ARRAYS: Final = ("mean", "scale", "lexical", "embedding", "bias")
_CLIP: Final = 4.0
_COMPLEX: Final = TIERS.index("complex")
_HINTS: Final = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a prompt demands.

    Attributes:
        tier: one of `TIERS`.
        confidence: probability, 0 to 1, of this tier; a low one where another was more likely and this one is safer.
        reason: one clause for people.
        probabilities: of each tier, in the order of `TIERS`.
    """

    tier: str
    confidence: float
    reason: str
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """Standardised features in, a score for each tier out."""

    mean: Vector
    scale: Vector
    lexical: Vector
    embedding: Vector
    bias: Vector

    @classmethod
    def parse(cls, content: bytes) -> "Weights":
        """Read what `dump` wrote. Raises ValueError when it was trained for other features than these."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            if tuple(stored["names"]) != NAMES:
                raise ValueError("the weights belong to other features: run training/complexity/train.py")
            mean, scale, words, embedding, bias = (stored[name].astype(np.float32) for name in _ARRAYS)
        return cls(mean, scale, words, embedding, bias)

    def dump(self) -> bytes:
        """Return the content of the weights file."""
        target = io.BytesIO()
        arrays = {name: getattr(self, name).astype(np.float16) for name in _ARRAYS}
        np.savez_compressed(target, names=np.array(NAMES), **arrays)
        return target.getvalue()

    def standardised(self, measured: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features with the training set's mean and spread taken out; one row or many."""
        clipped: NDArray[np.float32] = np.clip((measured - self.mean) * self.scale, -_CLIP, _CLIP)
        return clipped

    def probabilities(self, measured: NDArray[np.float32], embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of each tier; one row or many."""
        scores = self.standardised(measured) @ self.lexical + embedded @ self.embedding + self.bias
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares: NDArray[np.float32] = raised / raised.sum(axis=-1, keepdims=True)
        return shares


@cache
def shipped() -> Weights:
    """The weights that come with this package, read once."""
    return Weights.parse((files("policies.complexity") / WEIGHTS).read_bytes())


def rounded_up(shares: Vector, sure: float = SURE, demanding: float = DEMANDING) -> int:
    """The place of the tier to be taken: that of the best, or a higher one where the best is not sure."""
    second, best = (int(place) for place in np.argsort(shares, kind="stable")[-2:])
    place = best if shares[best] >= sure else max(best, second)
    if place < _COMPLEX and shares[_COMPLEX:].sum() >= demanding:
        return _COMPLEX + int(np.argmax(shares[_COMPLEX:]))
    return place


def classify(text: str, embedding: Vector, weights: Weights | None = None) -> Verdict:
    """Tell what a prompt demands.

    Args:
        text: the prompt, of any length: only its ends are looked at.
        embedding: the unit vector of `gist(text)`, 256 values; zeros where there is none.
        weights: other weights than those that come with this package.

    Raises:
        ValueError: for an embedding of another length.
    """
    if embedding.shape != (EMBEDDED,):
        raise ValueError(f"the embedding must have {EMBEDDED} values")
    if not text.strip():
        return Verdict(TIERS[0], 1.0, "there is no text to judge", (1.0, 0.0, 0.0, 0.0))
    weights = weights or shipped()
    parts = parts_of(text)
    measured = lexical(parts)
    shares = weights.probabilities(measured, embedding)
    place = rounded_up(shares)
    reason = _reason(place, shares, parts, measured, weights)
    told = tuple(round(float(share), 4) for share in shares)
    if (doubted := doubt(parts.task, words_of(parts.task))) is not None:
        why, blind = doubted
        higher = max(place, _COMPLEX if blind else min(place + 1, _COMPLEX))
        if higher > place:
            return Verdict(TIERS[higher], 0.0, f"{TIERS[higher]} is assumed: {why}", told)
    return Verdict(TIERS[place], round(float(shares[place]), 3), reason, told)


def _reason(place: int, shares: Vector, parts: Parts, measured: Vector, weights: Weights) -> str:
    best = int(np.argmax(shares))
    if place != best:
        told = (
            f"{TIERS[best]} ({shares[best]:.0%}) or {TIERS[place]} ({shares[place]:.0%}); the more demanding is assumed"
        )
    else:
        told = f"looks {TIERS[place]} ({shares[place]:.0%})"
    # How much each feature speaks for this tier, compared with what it says for the others on average.
    voices = weights.standardised(measured) * (weights.lexical[:, place] - weights.lexical.mean(axis=1))
    hints: list[str] = []
    for index in np.argsort(-voices)[:8]:
        found = hint(NAMES[index], measured[index], parts) if voices[index] > 0.1 else None
        if found and found not in hints:
            hints.append(found)
    return f"{told}: {', '.join(hints[:_HINTS])}" if hints else told
