"""Entries in Redis.

Of each tenant: ``coatcheck:cache:{TENANT}:e:KEY`` holds an entry, and beside it stand the books that the scripts keep: ``used``,
``ends``, ``about`` and ``state``. Look-ups of one turn of the loop share an exchange with Redis, and none waits for long.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from core.announce import end_tasks
from core.cache.encodings import as_asked
from core.cache.entries import About, Damaged, Entry
from core.settings import CacheSettings
from core.telemetry.metrics import CACHE_AWAY, CACHE_LOOKUPS, CACHE_STORES

_ERRORS: Final = (RedisError, OSError, TimeoutError)
_AWAY_S: Final = 1.0
_TOUCH_S: Final = 1.0
_MOST_TOUCHES: Final = 10_000
_MOST_AT_ONCE: Final = 256
_PAGE: Final = 500
_EACH_S: Final = 0.001
# To keep an answer is worth a longer wait than to look one up: nobody but the job's own end waits for it.
_PUT_WAITS: Final = 10
# A timer that fires so much too late tells of a busy loop, not of a slow Redis.
_GLANCE_S: Final = 0.01
_LATE_S: Final = 0.005
_MOST_WAITS: Final = 10

T = TypeVar("T")

_log = structlog.get_logger(__name__)


def _script(name: str) -> str:
    return files("core.cache").joinpath(name).read_text(encoding="utf-8")


class Cache:
    """Looks entries up, keeps them and lets them go. One per process and event loop.

    Args:
        redis: a client with bounded waits.
        settings: sizes and times.
    """

    def __init__(self, redis: "Redis", settings: CacheSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._put: Any = redis.register_script(_script("put.lua"))
        self._drop: Any = redis.register_script(_script("drop.lua"))
        self._asked: list[tuple[bytes, asyncio.Future[bytes | None]]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._touched: dict[tuple[UUID, bytes], None] = {}
        self._touching: asyncio.Task[None] | None = None
        self._away_until = 0.0

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self._settings.tenant_bytes > 0

    @property
    def reachable(self) -> bool:
        """Whether the last exchange worked, as far as is known: then what was not found is not there."""
        return not self._away()

    @property
    def ttl_s(self) -> float:
        """For how many seconds an answer is kept where its job does not say."""
        return self._settings.ttl_s

    async def get(self, tenant: UUID, key: bytes) -> Entry | None:
        """Return the entry under a key; None when there is none, or none in time. Never raises."""
        if not self.enabled or self._away():
            return None
        raw = await self._look(_entry(tenant, key))
        if raw is None:
            CACHE_LOOKUPS.labels("absent").inc()
            return None
        try:
            entry = Entry.unpack(raw, tenant, key)
        except Damaged as error:
            CACHE_LOOKUPS.labels("damaged").inc()
            _log.warning("cache_entry_damaged", error=str(error))
            return None
        CACHE_LOOKUPS.labels("found").inc()
        self._touch(tenant, key)
        return entry

    async def answer(self, tenant: UUID, key: bytes, endpoint: str, body: str) -> Entry | None:
        """Return the entry that answers a request, JSON text, in the encoding that it asks for. Never raises."""
        entry = await self.get(tenant, key)
        return None if entry is None else await as_asked(entry, endpoint, body)

    async def put(self, tenant: UUID, key: bytes, entry: Entry, ttl_s: float | None, began_s_ago: float) -> bool:
        """Keep an entry; False when it was not kept. Never raises.

        Args:
            tenant: whose it is.
            key: what is asked for it.
            entry: the answer.
            ttl_s: how long, in seconds; None for the usual time.
            began_s_ago: when its answer was asked for: what was asked before an invalidation is not kept after it.
        """
        if not self.enabled or self._away():
            return False
        packed = entry.pack(tenant, key)
        if len(packed) > self._settings.entry_bytes:
            CACHE_STORES.labels("too_large").inc()
            return False
        keys = [_entry(tenant, key), *_books(tenant)]
        about = entry.about
        told = {"e": about.endpoint, "m": about.model, "s": about.schedule_id, "d": about.metadata or None}
        arguments = [
            key.hex(), packed, max(1, round((ttl_s or self._settings.ttl_s) * 1000)), self._settings.tenant_bytes,
            orjson.dumps(told), max(0, round(began_s_ago * 1000)), _entries(tenant),
        ]  # fmt: skip
        try:
            stored = await _in_time(self._put(keys=keys, args=arguments), self._settings.wait_s * _PUT_WAITS)
        except _ERRORS as error:
            self._lost(error)
            CACHE_STORES.labels("lost").inc()
            return False
        CACHE_STORES.labels({1: "stored", 0: "outdated"}.get(int(stored), "too_large")).inc()
        return int(stored) == 1

    async def age_s(self, tenant: UUID, key: bytes) -> float | None:
        """Return how old the entry under a key is, in seconds; None when there is none. For prewarming: it counts as no use."""
        if not self.enabled or self._away():
            return None
        raw = await self._look(_entry(tenant, key))
        try:
            return None if raw is None else Entry.unpack(raw, tenant, key).age_s
        except Damaged:
            return None

    async def left_s(self, tenant: UUID, keys: Sequence[bytes]) -> list[float]:
        """Return for how many seconds each entry lives yet, 0 where there is none or nobody can tell. Never raises."""
        if not self.enabled or not keys or self._away():
            return [0.0] * len(keys)
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.execute_command("PTTL", _entry(tenant, key))
            told = await _in_time(pipeline.execute(), self._settings.wait_s + len(keys) * _EACH_S)
            return [max(0.0, left / 1000) for left in told]
        except _ERRORS as error:
            self._lost(error)
            return [0.0] * len(keys)

    async def invalidate(self, tenant: UUID, fits: Callable[[About], bool]) -> int:
        """Let all entries go that fit; return how many.

        Answers that were asked for before are not kept either, whatever they are of: one more miss is better than a stale hit.

        Raises:
            redis.exceptions.RedisError, OSError, TimeoutError: when Redis does not answer: nothing is promised then.
        """
        used, ends, about, state = _books(tenant)
        gone = int(await self._drop(keys=[used, ends, about, state], args=[_entries(tenant)]))
        due: list[bytes] = []
        async for key, told in self._redis.hscan_iter(about, count=_PAGE):
            if fits(_told(told)):
                due.append(key)
        for start in range(0, len(due), _PAGE):
            arguments = [_entries(tenant), *due[start : start + _PAGE]]
            gone += int(await self._drop(keys=[used, ends, about, state], args=arguments))
        return gone

    async def size(self, tenant: UUID) -> tuple[int, int] | None:
        """Return how many entries a tenant has and how many bytes they weigh; None when Redis does not answer."""
        used, _, _, state = _books(tenant)
        try:
            async with asyncio.timeout(self._settings.wait_s):
                return int(await self._redis.zcard(used)), int(await self._redis.hget(state, "bytes") or 0)
        except _ERRORS as error:
            self._lost(error)
            return None

    async def close(self) -> None:
        """End what goes on in the background."""
        await end_tasks([*self._asking, *([self._touching] if self._touching is not None else [])])

    async def _look(self, name: bytes) -> bytes | None:
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._asked.append((name, answer))
        if len(self._asked) == 1:
            # By the next turn of the loop all that came with this one is there too.
            task = asyncio.create_task(self._ask(), name="cache-look")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return await answer

    async def _ask(self) -> None:
        asked, self._asked = self._asked, []
        found: Sequence[bytes | None] = [None] * len(asked)
        try:
            found = await _in_time(self._fetch([name for name, _ in asked]), self._settings.wait_s)
        except _ERRORS as error:
            self._lost(error)
        finally:
            for (_, answer), raw in zip(asked, found, strict=True):
                if not answer.done():
                    answer.set_result(raw)

    async def _fetch(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        found: list[Any] = []
        for start in range(0, len(names), _MOST_AT_ONCE):
            found += await self._redis.mget(names[start : start + _MOST_AT_ONCE])
        return found

    def _touch(self, tenant: UUID, key: bytes) -> None:
        if len(self._touched) < _MOST_TOUCHES:
            self._touched[tenant, key] = None
        if self._touching is None or self._touching.done():
            self._touching = asyncio.create_task(self._write_touches(), name="cache-touch")

    async def _write_touches(self) -> None:
        """Write down what was used, a second's worth at once: eviction needs no more than that."""
        await asyncio.sleep(_TOUCH_S)
        touched, self._touched = self._touched, {}
        now = round(time.time() * 1000)
        pipeline = self._redis.pipeline(transaction=False)
        for tenant, key in touched:
            pipeline.execute_command("ZADD", _books(tenant)[0], "XX", now, key.hex())
        try:
            await pipeline.execute()
        except _ERRORS as error:
            self._lost(error)

    def _away(self) -> bool:
        return time.monotonic() < self._away_until

    def _lost(self, error: BaseException) -> None:
        CACHE_AWAY.inc()
        if not self._away():
            _log.warning("cache_away", error=type(error).__name__)
        if not isinstance(error, ResponseError):  # a Redis that is full takes nothing more, and still tells what it has
            self._away_until = time.monotonic() + _AWAY_S


async def _in_time(exchange: Awaitable[T], seconds: float) -> T:
    """Await an exchange with Redis; the time that this loop was too busy to see the answer does not count.

    Otherwise a burst of work would be taken for a lost Redis, and its answers would not be kept just when many of them are made.

    Raises:
        TimeoutError: when there is no answer in time.
    """
    task, left = asyncio.ensure_future(exchange), seconds
    end = time.monotonic() + _MOST_WAITS * seconds
    try:
        while left > 0 and (began := time.monotonic()) < end:
            await asyncio.wait({task}, timeout=_GLANCE_S)
            if task.done():
                return task.result()
            if time.monotonic() - began < _GLANCE_S + _LATE_S:
                left -= _GLANCE_S
    finally:
        if task.cancel():
            # A connection that breaks just then makes it end with an error, which nobody waits for any more.
            task.add_done_callback(_forgive)
    raise TimeoutError


def _forgive(task: "asyncio.Future[Any]") -> None:
    """Look at how a task ended, or asyncio would complain that nobody did."""
    if not task.cancelled():
        task.exception()


def _entries(tenant: UUID) -> bytes:
    return b"coatcheck:cache:{%s}:e:" % tenant.hex.encode()


def _entry(tenant: UUID, key: bytes) -> bytes:
    return _entries(tenant) + key.hex().encode()


def _books(tenant: UUID) -> tuple[str, str, str, str]:
    prefix = f"coatcheck:cache:{{{tenant.hex}}}:"
    return prefix + "used", prefix + "ends", prefix + "about", prefix + "state"


def _told(raw: bytes) -> About:
    told = orjson.loads(raw.partition(b"|")[2])
    return About(told["e"], told["m"], told["s"], told["d"])
