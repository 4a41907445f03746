"""Requests per minute of keys and tenants: counted in Redis, and by each process for itself while Redis is away."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger("api.rate")

_SCRIPT = (Path(__file__).parent / "rate.lua").read_text()
_WINDOW_S: Final = 61  # a minute, and the second that the oldest bucket may still be part of
_ANSWER_S: Final = 0.25
_AWAY_S: Final = 2.0
_MAX_KEYS: Final = 10_000
# OpenAI's clients expect numbers, of tokens too. Where nothing is limited they get one that is too large to be taken for a limit
# and that JavaScript still reads exactly; 0 or -1 would make clients wait that look at what remains.
_UNLIMITED: Final = b"9007199254740991"
_NO_TOKEN_LIMIT: Final = (
    (b"x-ratelimit-limit-tokens", _UNLIMITED),
    (b"x-ratelimit-remaining-tokens", _UNLIMITED),
    (b"x-ratelimit-reset-tokens", b"0s"),
)
#: For answers that tell of limits where none is known: of keys without one, and when the key could not be looked up.
NO_LIMITS: Final = (
    (b"x-ratelimit-limit-requests", _UNLIMITED),
    (b"x-ratelimit-remaining-requests", _UNLIMITED),
    (b"x-ratelimit-reset-requests", b"0s"),
    *_NO_TOKEN_LIMIT,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass; `retry_s` is the time until the next one may."""

    accepted: bool
    remaining: int
    retry_s: float


def rate_headers(limit: int, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell of a limit of requests; where tokens are limited too, a submission says so (`api.limits`)."""
    full_again = verdict.retry_s if not verdict.accepted else 60.0
    return [
        (b"x-ratelimit-limit-requests", b"%d" % limit),
        (b"x-ratelimit-remaining-requests", b"%d" % verdict.remaining),
        (b"x-ratelimit-reset-requests", b"%.3fs" % full_again),
        *_NO_TOKEN_LIMIT,
    ]


class LocalWindow:
    """The same count as `rate.lua`, in this process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._keys: OrderedDict[UUID, deque[list[int]]] = OrderedDict()

    def count(self, key: UUID, limit: int) -> Verdict:
        """Count one request of `key` against `limit` per minute."""
        clock = self._clock()
        now = int(clock)
        buckets = self._keys.setdefault(key, deque())
        self._keys.move_to_end(key)
        if len(self._keys) > _MAX_KEYS:
            self._keys.popitem(last=False)
        while buckets and buckets[0][0] <= now - _WINDOW_S:
            buckets.popleft()
        used = sum(count for _, count in buckets)
        if used >= limit:
            oldest = buckets[0][0] if buckets else now
            return Verdict(accepted=False, remaining=0, retry_s=oldest + _WINDOW_S - clock)
        if buckets and buckets[-1][0] == now:
            buckets[-1][1] += 1
        else:
            buckets.append([now, 1])
        return Verdict(accepted=True, remaining=limit - used - 1, retry_s=0.0)


class RateLimiter:
    """Asks Redis, and falls back to this process's own count when Redis does not answer at once."""

    def __init__(self, redis: "Redis | None") -> None:
        self._script: Any = redis.register_script(_SCRIPT) if redis is not None else None
        self._local = LocalWindow()
        self._away_until = 0.0

    async def count(self, key: UUID, limit: int) -> Verdict:
        """Count one request of `key`, a key or a tenant, against `limit` per minute."""
        if self._script is None or time.monotonic() < self._away_until:
            return self._local.count(key, limit)
        try:
            async with asyncio.timeout(_ANSWER_S):
                accepted, remaining, wait_ms = await self._script(keys=[f"coatcheck:rate:{key}"], args=[limit])
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = time.monotonic() + _AWAY_S
            log.warning("rate_limit_local", error=type(error).__name__)
            return self._local.count(key, limit)
        return Verdict(accepted=bool(accepted), remaining=int(remaining), retry_s=int(wait_ms) / 1000)
