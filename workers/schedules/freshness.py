"""Which cache entries a prewarm run need not fill."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from core.cache import Cache


class Freshness(Protocol):
    """Knows what the cache holds."""

    @property
    def ttl_s(self) -> float:
        """For how many seconds an answer is kept where its job does not say."""
        ...

    async def left_s(self, tenant: UUID, keys: Sequence[bytes]) -> Sequence[float]:
        """Return for how many seconds each entry lives yet, 0 where there is none or nobody can tell. Never raises."""
        ...

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        """Return those of `keys` (of `policies.cache_keys.exact_key`) whose entries live for more than `for_s` seconds yet.

        Never raises: what nobody can tell is not fresh, and is made once more.
        """
        ...


class CacheFreshness:
    """Asks the exact cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    @property
    def ttl_s(self) -> float:
        """For how long an answer is usually kept."""
        return self._cache.ttl_s

    async def left_s(self, tenant: UUID, keys: Sequence[bytes]) -> Sequence[float]:
        """Return for how long each entry lives yet; see `Freshness`."""
        return await self._cache.left_s(tenant, keys)

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        """Return the keys whose entries live for longer; see `Freshness`."""
        left = await self._cache.left_s(tenant, keys)
        return {key for key, seconds in zip(keys, left, strict=True) if seconds > for_s}


class NothingIsFresh:
    """Without a cache every entry has to be made."""

    ttl_s = 86_400.0

    async def left_s(self, tenant: UUID, keys: Sequence[bytes]) -> Sequence[float]:  # noqa: ARG002 - the protocol's
        """Return zeros."""
        return [0.0] * len(keys)

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return set()
