"""Telling other processes, by Redis pub/sub, that something happened. It may be lost: Postgres holds what is true.

Channels and their messages:

``coatcheck:moved``       ids of jobs that changed state, 16 bytes each
``coatcheck:cancelled``   ids of jobs whose worker should stop, 16 bytes each
``coatcheck:work``        the name of a lane that has just got work: a hint for idle workers, beside the doorbell
``coatcheck:keys``        the SHA-256 of API keys that were revoked, 32 bytes each
``coatcheck:delta:ID``    deltas of one streaming job: ``{"seq": number of the first, "deltas": [data, …]}``
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import suppress
from functools import cache
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from redis.asyncio import BlockingConnectionPool, Connection, Redis, UnixDomainSocketConnection
from redis.asyncio.client import PubSub
from redis.asyncio.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

MOVED: Final = b"coatcheck:moved"
CANCELLED: Final = b"coatcheck:cancelled"
WORK: Final = b"coatcheck:work"
KEYS: Final = b"coatcheck:keys"
DELTA: Final = b"coatcheck:delta:"

REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)
#: After so many seconds without a word a connection is asked whether it still lives; after twice as many it is given up.
SILENCE_S: Final = 5.0
_PAUSE_S: Final = 1.0
_CANCEL_AGAIN_S: Final = 0.5
_MOST_WAITING: Final = 10_000

_log = structlog.get_logger(__name__)


def open_redis(url: str, timeout_s: float) -> "Redis":
    """Return a client with bounded waits: no answer of Redis may hold anybody for longer than ``timeout_s`` seconds."""
    options: dict[str, Any] = dict(parse_url(url))
    connection_class = options.pop("connection_class", Connection)
    if connection_class is not UnixDomainSocketConnection:
        options["socket_keepalive"] = True
    # A pool that waits instead of failing: a burst of requests is not an outage.
    pool = BlockingConnectionPool(
        max_connections=32,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=10,
        connection_class=_noticing(connection_class),
        **options,
    )
    return Redis.from_pool(pool)  # which closes the pool with the client


class _Noticing:
    """A connection that was lost a moment ago says that it was lost.

    redis-py passes on what it meets: of uvloop a RuntimeError where the other side cut it, an AttributeError where a task beside
    this one noticed first and closed it. Either would end whoever is prepared for ``REDIS_ERRORS``.
    """

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().send_packed_command(*args, **kwargs)  # type: ignore[misc]
        except (RuntimeError, AttributeError) as error:
            raise RedisConnectionError(f"lost before it was written to: {error}") from error


@cache
def _noticing(connection_class: type) -> type:
    return type(connection_class.__name__, (_Noticing, connection_class), {})


async def heard(pubsub: PubSub, silence_s: float = SILENCE_S) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield (channel, data) of every message, for ever.

    Raises:
        TimeoutError: when the connection answers no ping. A half-open one takes pings without complaint and stays silent.
        redis.exceptions.RedisError: when it breaks.
    """
    clock = asyncio.get_running_loop().time
    spoke = asked = clock()
    while True:
        message = await pubsub.get_message(timeout=silence_s)
        now = clock()
        if message is not None:
            spoke = now
            if message["type"] == "message":
                yield message["channel"], message["data"]
        elif now - spoke >= 2 * silence_s:
            raise TimeoutError("Redis answers no ping")
        elif now - max(spoke, asked) >= silence_s:
            asked = now
            await pubsub.ping()


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` and wait until they are gone; redis-py may swallow a cancellation while it connects."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)  # looks at what they raised, or asyncio would complain


def delta_channel(job: UUID) -> bytes:
    """Return the channel of one job's deltas."""
    return DELTA + job.hex.encode()


class Announcer:
    """Publishes in the background, in order, without ever holding up the caller; what Redis does not take is dropped."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._ids: dict[bytes, list[bytes]] = defaultdict(list)
        self._deltas: list[tuple[bytes, bytes]] = []
        self._lanes: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start publishing on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="announcer")

    async def stop(self) -> None:
        """Publish what is left, for at most a second, and stop."""
        if self._task is None:
            return
        with suppress(*REDIS_ERRORS):
            async with asyncio.timeout(_PAUSE_S):
                await self._publish()
        await end_tasks([self._task])

    def moved(self, jobs: Iterable[UUID]) -> None:
        """Say that ``jobs`` changed state."""
        self._add(MOVED, (job.bytes for job in jobs))

    def cancelled(self, jobs: Iterable[UUID]) -> None:
        """Say that the workers of ``jobs`` should stop."""
        self._add(CANCELLED, (job.bytes for job in jobs))

    def work(self, lane: str) -> None:
        """Hint that ``lane`` has work."""
        self._lanes.add(lane)
        self._wake.set()

    def deltas(self, job: UUID, first_seq: int, deltas: list[dict[str, object]]) -> None:
        """Pass on deltas of ``job``, numbered from ``first_seq``."""
        if len(self._deltas) < _MOST_WAITING:
            self._deltas.append((delta_channel(job), orjson.dumps({"seq": first_seq, "deltas": deltas})))
            self._wake.set()

    def _add(self, channel: bytes, messages: Iterable[bytes]) -> None:
        waiting = self._ids[channel]
        if len(waiting) < _MOST_WAITING:
            waiting.extend(messages)
            self._wake.set()

    async def _run(self) -> None:
        away = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._publish()
            except REDIS_ERRORS as error:
                if not away:
                    _log.warning("redis_away", error=type(error).__name__)
                away = True
                await asyncio.sleep(_PAUSE_S)
            except Exception:  # noqa: BLE001 - a client that breaks in its own way must not silence this process for good
                _log.exception("announcement_lost")
                await asyncio.sleep(_PAUSE_S)
            else:
                if away:
                    _log.info("redis_back")
                away = False

    async def _publish(self) -> None:
        ids, self._ids = self._ids, defaultdict(list)
        deltas, self._deltas = self._deltas, []
        lanes, self._lanes = self._lanes, set()
        deltas += [(WORK, lane.encode()) for lane in lanes]
        messages = deltas + [(channel, b"".join(parts)) for channel, parts in ids.items() if parts]
        if len(messages) == 1:
            await self._redis.publish(*messages[0])
        elif messages:
            pipeline = self._redis.pipeline(transaction=False)
            for channel, message in messages:
                pipeline.execute_command("PUBLISH", channel, message)
            await pipeline.execute()


def split_ids(message: bytes) -> list[UUID]:
    """Return the ids in a message of ``MOVED`` or ``CANCELLED``; what is not a whole id is left out."""
    return [UUID(bytes=message[at : at + 16]) for at in range(0, len(message) - 15, 16)]
