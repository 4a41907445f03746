"""Fixed size and timer: what batch libraries do."""

import asyncio
from collections import deque
from collections.abc import Callable

from policies.batching import merge_key
from policies.catalog import Deployment
from workers.batching.shared import ask
from workers.providers.protocol import Call, Delta, Provider, ProviderError, Reply

_Waiting = tuple[Call, asyncio.Future[Reply]]


class TimedBatcher:
    """Makes calls over another provider.

    Args:
        inner: makes upstream calls.
        slots: tells how many calls to a deployment may be under way.
        size: a batch of so many leaves at once.
        timer_s: a smaller one when its first call has waited so long.
    """

    def __init__(self, inner: Provider, slots: Callable[[Deployment], int], *, size: int, timer_s: float) -> None:
        self._inner = inner
        self._slots = slots
        self._size = size
        self._timer_s = timer_s
        self._gathering: dict[bytes, list[_Waiting]] = {}
        self._timers: dict[bytes, asyncio.TimerHandle] = {}
        self._ready: deque[list[_Waiting]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def call(self, call: Call, on_delta: Callable[[Delta], None] | None) -> Reply:
        """Run one call in a batch."""
        key = merge_key(call.endpoint, call.body)
        if call.deployment.merge_items <= 1 or key is None:
            return await self._inner.call(call, on_delta)
        loop = asyncio.get_running_loop()
        waiting: _Waiting = (call, loop.create_future())
        batch = self._gathering.setdefault(key, [])
        batch.append(waiting)
        if len(batch) == 1:
            self._timers[key] = loop.call_later(self._timer_s, self._close_batch, key)
        if len(batch) >= self._size:
            self._timers[key].cancel()
            self._close_batch(key)
        return await waiting[1]

    def _close_batch(self, key: bytes) -> None:
        self._ready.append(self._gathering.pop(key))
        self._start()

    def _start(self) -> None:
        while self._ready and len(self._under_way) < self._slots(self._ready[0][0][0].deployment):
            task = asyncio.ensure_future(self._run(self._ready.popleft()))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._start()

    async def _run(self, batch: list[_Waiting]) -> None:
        try:
            replies = await ask(self._inner, [call for call, _ in batch])
        except ProviderError as error:
            for _, answer in batch:
                answer.set_exception(error)
        else:
            for (_, answer), reply in zip(batch, replies, strict=True):
                answer.set_result(reply)

    @property
    def in_flight(self) -> int:
        """Upstream calls under way."""
        return len(self._under_way)
