"""Who makes the vectors that say which questions are near.

The usual embedder computes inside the process that asks, in a fraction of a millisecond and with the weights that the complexity
router and the local models use too (`core.embedding` holds them once per process): so the API can look before a job queues. A
model of the catalog is called over the network, which only workers do: its embedder lives in `workers.engine.embedder`, and with
it the look-up happens before the job's attempt.
"""

import asyncio
from typing import Final, Protocol

from core.embedding import shared_embedder
from policies.catalog import IN_PROCESS
from policies.vectors import fitted

Vector = tuple[float, ...]


class Embedder(Protocol):
    """Turns a question into a vector of `policies.vectors.DIMENSIONS` numbers and unit length."""

    @property
    def name(self) -> str:
        """Vectors of one name can be compared."""
        ...

    async def embed(self, text: str) -> Vector | None:
        """Return the vector of a text of a few thousand characters at most; None when there is none to be had. Never raises."""
        ...


class InProcessEmbedder:
    """The model inside this process; loaded with the first question, beside the event loop."""

    name: Final = IN_PROCESS

    def __init__(self) -> None:
        self._loaded = False

    async def embed(self, text: str) -> Vector | None:
        """Return the vector of a text; None for one without a word."""
        if not self._loaded:
            await asyncio.to_thread(shared_embedder)
            self._loaded = True
        return vector_of(text)


def vector_of(text: str) -> Vector | None:
    """Return the vector that the model inside this process makes of a text; long texts take milliseconds."""
    return fitted(shared_embedder().embed([text]).vectors[0])
