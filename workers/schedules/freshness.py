"""Which cache entries a prewarm run need not fill."""

from collections.abc import Sequence
from typing import Protocol


class Freshness(Protocol):
    """Knows what the cache holds."""

    async def is_fresh(self, keys: Sequence[bytes], for_s: float) -> set[bytes]:
        """Return those of `keys` (of `policies.cache_keys.exact_key`) whose entries live for more than `for_s` seconds yet.

        Never raises: what nobody can tell is not fresh, and is made once more.
        """
        ...


class NothingIsFresh:
    """Without a cache every entry has to be made."""

    async def is_fresh(self, keys: Sequence[bytes], for_s: float) -> set[bytes]:  # noqa: ARG002 - as the protocol has it
        """Return nothing."""
        return set()
