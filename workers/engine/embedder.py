"""The embedder of the semantic cache, where the catalog names a model for it.

It lives here because only workers call upstreams: with it, near questions are looked for before a job's attempt and not when
the job comes in. The usual one, inside the process, is `core.cache.embedders`.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import structlog

from core.cache import Embedder, InProcessEmbedder
from policies.catalog import Catalog
from policies.vectors import fitted
from workers.providers.protocol import Call, Provider, ProviderError, Reply
from workers.routing.booked import booked_call
from workers.routing.router import Router

Vector = tuple[float, ...]
_EMBEDDINGS: Final = "/v1/embeddings"
# Who waits for a vector waits for an answer that may be had without it.
_LONGEST_S: Final = 1.0
# One that has just failed is not waited for by the next job.
_AWAY_S: Final = 5.0
# The question of a job is asked for twice: before its attempt, and when its answer is kept.
_REMEMBERED: Final = 2_000
_CHARS_PER_TOKEN: Final = 4

_log = structlog.get_logger(__name__)


class UpstreamEmbedder:
    """Asks a model of the catalog, by the ways and books of all calls. Vectors are fitted to the length that is stored.

    Args:
        model: a model that serves embeddings.
        router: knows its deployments.
        providers: by the provider names of the catalog.
    """

    def __init__(self, model: str, router: Router, providers: Mapping[str, Provider]) -> None:
        self.name = model
        self._router = router
        self._providers = providers
        self._known: OrderedDict[str, Vector] = OrderedDict()
        self._away_until = 0.0

    async def embed(self, text: str) -> Vector | None:
        """Return the vector of a text; None when no deployment gives one within a second."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        if time.monotonic() < self._away_until:
            return None
        try:
            reply = await self._ask(text)
        except ProviderError as error:
            self._away_until = time.monotonic() + _AWAY_S
            _log.warning("embedder_failed", model=self.name, code=error.code)
            return None
        vector = None if reply is None else _vector_of(reply.body)
        if vector is not None:
            self._known[text] = vector
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return vector

    async def _ask(self, text: str) -> Reply | None:
        choice = self._router.choose(self.name, _EMBEDDINGS)
        if choice is None:
            return None
        state, body = choice.state, {"model": self.name, "input": text, "encoding_format": "float"}
        call = Call(choice.deployment, _EMBEDDINGS, body, stream=False, timeout_s=_LONGEST_S, headers={})
        tokens = len(text) // _CHARS_PER_TOKEN + 1 if state.part.metered else 0
        return await booked_call(self._router, self._providers, state, call, tokens)


class Embedders:
    """The embedder in force, which follows the catalog."""

    def __init__(self, router: Router, providers: Mapping[str, Provider]) -> None:
        self._router = router
        self._providers = providers
        self._inside = InProcessEmbedder()
        self._upstream: UpstreamEmbedder | None = None

    def current(self, catalog: Catalog) -> Embedder:
        """Return what a catalog says."""
        if catalog.embedder is None:
            return self._inside
        if self._upstream is None or self._upstream.name != catalog.embedder:
            self._upstream = UpstreamEmbedder(catalog.embedder, self._router, self._providers)
        return self._upstream


def _vector_of(body: Mapping[str, Any]) -> Vector | None:
    try:
        return fitted(body["data"][0]["embedding"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
