"""Which cache entries a prewarm run need not fill."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from core.cache import Cache


class Freshness(Protocol):
    """Knows what the cache holds."""

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        """Return those of `keys` (of `policies.cache_keys.exact_key`) whose entries live for more than `for_s` seconds yet.

        Never raises: what nobody can tell is not fresh, and is made once more.
        """
        ...


class CacheFreshness:
    """Asks the exact cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        """Return the keys whose entries live for longer; see `Freshness`."""
        left = await self._cache.left_s(tenant, keys)
        return {key for key, seconds in zip(keys, left, strict=True) if seconds > for_s}


class NothingIsFresh:
    """Without a cache every entry has to be made."""

    async def is_fresh(self, tenant: UUID, keys: Sequence[bytes], for_s: float) -> set[bytes]:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return set()
