"""The labelled prompts, and the part of them that is kept out of training."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.embedding import shared_embedder
from policies.complexity.classifier import TIERS
from policies.complexity.features import gist, lexical, parts_of

Places = NDArray[np.int64]

HERE: Final = Path(__file__).parent
_HELD_OUT: Final = 77  # of 256: 30 %


@dataclass(frozen=True, slots=True)
class Prompt:
    """One labelled prompt."""

    text: str
    tier: str
    kind: str
    language: str

    @property
    def held_out(self) -> bool:
        """Whether it is kept out of training, for ever: that depends on its text alone."""
        return hashlib.sha256(self.text.encode()).digest()[0] < _HELD_OUT


@dataclass(frozen=True, slots=True)
class Measured:
    """Prompts as numbers, one row each."""

    lexical: NDArray[np.float32]
    embedded: NDArray[np.float32]
    tiers: Places

    def part(self, rows: NDArray[np.bool_] | Places) -> "Measured":
        """Some of the rows."""
        return Measured(self.lexical[rows], self.embedded[rows], self.tiers[rows])


def read_prompts(folder: Path = HERE / "prompts") -> list[Prompt]:
    """All labelled prompts, in a fixed order."""
    return [prompt for path in sorted(folder.glob("*.jsonl")) for prompt in _read(path)]


def read_later(path: Path = HERE / "later.jsonl") -> list[Prompt]:
    """Prompts that were written when all else was finished, for one more look from outside; never trained on."""
    return _read(path)


def _read(path: Path) -> list[Prompt]:
    return [Prompt(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def measure(prompts: Sequence[Prompt]) -> Measured:
    """Features of the prompts."""
    texts = [prompt.text for prompt in prompts]
    return Measured(
        np.stack([lexical(parts_of(text)) for text in texts]),
        shared_embedder().embed([gist(text) for text in texts]).vectors,
        np.array([TIERS.index(prompt.tier) for prompt in prompts]),
    )
