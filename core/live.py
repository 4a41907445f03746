"""Waiting for jobs without holding anything: one Redis subscription and one poll per process, whoever waits.

A watcher is woken when its job changes state or gains events. Redis brings the news within a millisecond; the poll, one statement
for all watched jobs, brings it anyway: every second, and four times as often while Redis is away.
"""

import asyncio
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import DELTA, KEYS, MOVED, REDIS_ERRORS, SILENCE_S, delta_channel, end_tasks, heard, split_ids
from core.store.failures import DATABASE_ERRORS
from core.store.reading import read_states

_log = structlog.get_logger(__name__)
_RECONNECT_S = 0.5
_MOST_DELTAS = 1000


@dataclass(slots=True)
class Delta:
    """One live delta of a streaming job: its event number and its data."""

    seq: int
    data: dict[str, Any]


@dataclass(eq=False, slots=True)
class Watch:
    """One waiter for one job; used as a context manager.

    Attributes:
        version: the job's version that the waiter has seen; set it after each read.
        tail: the number of the last stored event that the waiter has seen, for event streams.
        deltas: live deltas that arrived since; may miss some, never out of order.
        stirred: whether there may be news besides the deltas, so that the store is worth a look.
    """

    hub: "Hub"
    tenant_id: UUID
    job: UUID
    streaming: bool
    version: int = 0
    tail: int = 0
    deltas: deque[Delta] = field(default_factory=lambda: deque(maxlen=_MOST_DELTAS))
    stirred: bool = False
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def __enter__(self) -> Self:
        self.hub.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.hub.remove(self)

    def wake(self) -> None:
        """Let the waiter look again."""
        self.stirred = True
        self._event.set()

    def feed(self, deltas: list[Delta]) -> None:
        """Bring live deltas."""
        self.deltas.extend(deltas)
        self._event.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait until there may be news; False when ``timeout_s`` seconds passed without any.

        Raises:
            ShuttingDown: when the process is about to stop.
        """
        if self.hub.stopping:
            raise ShuttingDown
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        if self.hub.stopping:
            raise ShuttingDown
        return True


class ShuttingDown(Exception):
    """The process ends: answer with what there is."""


class Hub:
    """Wakes watchers. One per process and event loop.

    Args:
        engine: connections with the API's role, for the poll.
        redis: where announcements arrive.
        poll_s: seconds between polls while Redis is there.
        poll_without_redis_s: seconds between polls while it is away.
        silence_s: seconds after which a silent connection is asked whether it still lives.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        redis: "Redis",
        *,
        poll_s: float = 1.0,
        poll_without_redis_s: float = 0.25,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._poll_s = poll_s
        self._poll_without_redis_s = poll_without_redis_s
        self._silence_s = silence_s
        self._watches: dict[UUID, set[Watch]] = defaultdict(set)
        self._pubsub: PubSub | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriptions: set[asyncio.Task[None]] = set()
        self.revoked_keys: list[Any] = []
        self.redis_up = False
        self.stopping = False

    def start(self) -> None:
        """Start listening and polling on the running event loop."""
        self._tasks = [
            asyncio.create_task(self._listen(), name="hub-listen"),
            asyncio.create_task(self._poll(), name="hub-poll"),
        ]

    async def stop(self) -> None:
        """Send all waiters home and stop."""
        self.stop_waiting()
        await end_tasks((*self._tasks, *self._subscriptions))

    def stop_waiting(self) -> None:
        """Wake every waiter with ``ShuttingDown``."""
        self.stopping = True
        for watches in list(self._watches.values()):
            for watch in watches:
                watch.wake()

    def watch(self, tenant_id: UUID, job: UUID, *, streaming: bool = False) -> Watch:
        """Return a watch on one job; ``streaming`` also brings live deltas and wakes at stored events."""
        return Watch(self, tenant_id, job, streaming)

    @property
    def waiting(self) -> int:
        """How many watches there are."""
        return sum(len(watches) for watches in self._watches.values())

    def add(self, watch: Watch) -> None:
        """Begin to wake ``watch``."""
        first_stream = watch.streaming and not any(other.streaming for other in self._watches[watch.job])
        self._watches[watch.job].add(watch)
        if first_stream:
            self._later(self._subscribe(delta_channel(watch.job)))

    def remove(self, watch: Watch) -> None:
        """Stop waking ``watch``."""
        watches = self._watches[watch.job]
        watches.discard(watch)
        if watch.streaming and not any(other.streaming for other in watches):
            self._later(self._unsubscribe(watch.job))
        if not watches:
            del self._watches[watch.job]

    def on_revoked_key(self, forget: Any) -> None:
        """Call ``forget(key_hash: bytes)`` when a key was revoked somewhere."""
        self.revoked_keys.append(forget)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._subscriptions.add(task)
        task.add_done_callback(self._subscriptions.discard)

    async def _subscribe(self, channel: bytes) -> None:
        if self._pubsub is not None:
            self._pubsub.channels[channel] = None
            await self._ask("SUBSCRIBE", channel)

    async def _unsubscribe(self, job: UUID) -> None:
        if self._pubsub is not None and not any(watch.streaming for watch in self._watches.get(job, ())):
            channel = delta_channel(job)
            self._pubsub.channels.pop(channel, None)
            await self._ask("UNSUBSCRIBE", channel)

    async def _ask(self, command: str, channel: bytes) -> None:
        """Say what is wanted, if there is somebody to say it to: whoever connects again asks for all of ``channels``.

        Connecting is up to the listener alone. With redis-py's own ``subscribe`` two tasks might connect, and read one answer.
        """
        connection: Any = None if self._pubsub is None else self._pubsub.connection
        if connection is not None and connection.is_connected:
            with suppress(*REDIS_ERRORS):
                await connection.send_command(command, channel, check_health=False)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await self._subscribe_all(pubsub)
                    self._pubsub = pubsub
                    self.redis_up = True
                    async for channel, data in heard(pubsub, self._silence_s):
                        self._take(channel, data)
            except REDIS_ERRORS as error:
                if self.redis_up:
                    _log.warning("live_redis_away", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - what breaks over one message costs a connection, and not all news from here on
                _log.exception("live_listener_broke")
            finally:
                self.redis_up = False
                self._pubsub = None
            await asyncio.sleep(_RECONNECT_S)

    async def _subscribe_all(self, pubsub: PubSub) -> None:
        wanted = {MOVED, KEYS} | self._streams()
        while wanted:
            await pubsub.subscribe(*wanted)
            # Those that came meanwhile found nobody whom they could ask.
            wanted = self._streams() - pubsub.channels.keys()

    def _streams(self) -> set[bytes]:
        return {delta_channel(job) for job, some in self._watches.items() if any(watch.streaming for watch in some)}

    def _take(self, channel: bytes, data: bytes) -> None:
        if channel == MOVED:
            for job in split_ids(data):
                for watch in self._watches.get(job, ()):
                    watch.wake()
        elif channel == KEYS:
            for at in range(0, len(data) - 31, 32):
                for forget in self.revoked_keys:
                    forget(data[at : at + 32])
        elif channel.startswith(DELTA):
            self._take_deltas(channel, data)

    def _take_deltas(self, channel: bytes, data: bytes) -> None:
        try:
            job = UUID(hex=channel[len(DELTA) :].decode())
            message = orjson.loads(data)
            deltas = [Delta(message["seq"] + offset, entry) for offset, entry in enumerate(message["deltas"])]
        except (ValueError, KeyError, TypeError):
            # Whoever may write to Redis may write nonsense; the stored events are what counts.
            _log.warning("live_message_malformed")
            return
        for watch in self._watches.get(job, ()):
            if watch.streaming:
                watch.feed(deltas)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s if self.redis_up else self._poll_without_redis_s)
            try:
                await self._look()
            except DATABASE_ERRORS:
                continue
            except Exception:  # noqa: BLE001 - whoever waits without Redis has nothing but this
                _log.exception("live_poll_broke")

    async def _look(self) -> None:
        if not self._watches:
            return
        tenants = {watch.tenant_id for some in self._watches.values() for watch in some}
        asked = list(self._watches)
        states = await read_states(self._engine, tenants, asked)
        for job in asked:
            # A job that is gone wakes its waiters too: they find out by reading.
            version, _, tail = states.get(job, (-1, "", 0))
            for watch in self._watches.get(job, ()):
                behind = watch.tail < tail or version < 0 if watch.streaming else watch.version != version
                if behind:
                    watch.wake()
