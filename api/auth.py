"""Who is calling: bearer keys, remembered for half a minute and forgotten at once when Redis says so."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from api.edge.head import Head
from api.problems import Problem
from api.rate import RateLimiter, Verdict, rate_headers
from core.store.keys import KEY_PREFIX, ApiKey

JOBS_WRITE: Final = "jobs:write"
JOBS_READ: Final = "jobs:read"
ADMIN: Final = "admin"

_TOKEN = re.compile(KEY_PREFIX.encode() + rb"[A-Za-z0-9_-]{16,250}")
_UNKNOWN_S: Final = 1.0  # remember unknown tokens too, or a wrong key in a loop asks the database each time
_MAX_REMEMBERED: Final = 10_000

Load = Callable[[str], Awaitable[ApiKey | None]]


@dataclass(slots=True)
class _Known:
    key: ApiKey | None
    until: float


def _refused() -> Problem:
    # One text for missing, malformed, unknown and revoked keys: the difference is nobody's business.
    return Problem(
        "unauthorized",
        "The API key is missing or not valid: send it as 'Authorization: Bearer cc_…'.",
        headers=[(b"www-authenticate", b'Bearer realm="coatcheck"')],
    )


class Authenticator:
    """Turns a bearer token into its key.

    Args:
        load: asks the database who presents this token.
        limiter: counts requests of keys that have a limit.
        remember_s: how long a key's row is trusted.
    """

    def __init__(self, load: Load, limiter: RateLimiter, remember_s: float) -> None:
        self._load = load
        self._limiter = limiter
        self._remember_s = remember_s
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._loading: dict[bytes, asyncio.Task[ApiKey | None]] = {}

    async def admit(self, head: Head, scope: str) -> ApiKey:
        """Return the caller's key if it has `scope` and is within its rate.

        Raises:
            Problem: 401, 403 or 429. Failures of the database pass through and become 503.
        """
        key = await self.identify(head)
        if scope not in key.scopes:
            raise Problem("missing_scope", f"This needs a key with the scope {scope}.")
        if key.requests_per_minute is not None or key.tenant_limits.requests_per_minute is not None:
            await self._count(head, key)
        return key

    async def identify(self, head: Head) -> ApiKey:
        """Return the caller's key.

        Raises:
            Problem: 401.
        """
        scheme, _, token = head.headers.get(b"authorization", b"").partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not _TOKEN.fullmatch(token):
            raise _refused()
        # Remembered by hash: comparing hashes tells nothing about a token, and memory holds none.
        token_hash = hashlib.sha256(token).digest()
        known = self._known.get(token_hash)
        if known is not None and known.until > time.monotonic():
            key = known.key
        else:
            key = await self._look_up(token_hash, token.decode())
        if key is None:
            raise _refused()
        return key

    def forget(self, token_hash: bytes) -> None:
        """Drop what is remembered of the key with this SHA-256; the next request asks the database."""
        self._known.pop(token_hash, None)
        # A look-up that is under way may have read the row before it changed: its answer is not to be kept.
        self._loading.pop(token_hash, None)

    async def _look_up(self, token_hash: bytes, token: str) -> ApiKey | None:
        """Read a key, once for all requests that wait for the same one."""
        task = self._loading.get(token_hash)
        if task is None:
            task = self._loading[token_hash] = asyncio.create_task(self._read(token_hash, token))
        return await asyncio.shield(task)

    async def _read(self, token_hash: bytes, token: str) -> ApiKey | None:
        me = asyncio.current_task()
        try:
            key = await self._load(token)
            if self._loading.get(token_hash) is me:
                self._remember(token_hash, key)
        finally:
            if self._loading.get(token_hash) is me:
                del self._loading[token_hash]
        return key

    def _remember(self, token_hash: bytes, key: ApiKey | None) -> None:
        lasts = self._remember_s if key is not None else _UNKNOWN_S
        self._known[token_hash] = _Known(key, time.monotonic() + lasts)
        self._known.move_to_end(token_hash)
        if len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)

    async def _count(self, head: Head, key: ApiKey) -> None:
        # The key first: a key that knocks too often must not use up what the tenant's other keys may ask.
        both = (
            ("key", key.id, key.requests_per_minute),
            ("tenant", key.tenant_id, key.tenant_limits.requests_per_minute),
        )
        tightest: tuple[int, Verdict] | None = None
        for who, owner, limit in both:
            if limit is None:
                continue
            verdict = await self._limiter.count(owner, limit)
            if tightest is None or not verdict.accepted or verdict.remaining < tightest[1].remaining:
                tightest = limit, verdict
            if not verdict.accepted:
                head.tags.extend(rate_headers(limit, verdict))
                detail = f"This {who} may make {limit} requests a minute."
                raise Problem("rate_limited", detail, retry_after_s=verdict.retry_s)
        if tightest is not None:
            head.tags.extend(rate_headers(*tightest))
