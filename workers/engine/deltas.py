"""Streamed deltas: numbered at once, shown live within a tick of the loop, stored in chunks.

Readers take the stored ones up to their end and then the live ones; both carry the same numbers.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import Announcer
from core.store.failures import DATABASE_ERRORS
from core.store.work import DeltaChunk, store_deltas
from workers.engine.job import Job
from workers.providers.protocol import Delta

_log = structlog.get_logger(__name__)


class DeltaStream:
    """The deltas of one attempt.

    Attributes:
        last_seq: the number of the last event this attempt told.
    """

    def __init__(self, job: Job, announcer: Announcer, changed: Callable[["DeltaStream"], None]) -> None:
        self.job = job
        self.last_seq = job.event_seq
        self._announcer = announcer
        self._changed = changed
        self._unstored: list[dict[str, Any]] = []
        self._unshown: list[dict[str, Any]] = []

    @property
    def streamed(self) -> bool:
        """Whether any delta was told."""
        return self.last_seq > self.job.event_seq

    def add(self, delta: Delta) -> None:
        """Number a delta and pass it on."""
        data: dict[str, Any] = {"delta": delta.text}
        if delta.choice is not None:
            data["choice"] = delta.choice
        self.last_seq += 1
        if not self._unshown:
            # All deltas that one read from the upstream brought go out as one message.
            asyncio.get_running_loop().call_soon(self._show)
        self._unshown.append(data)
        self._unstored.append(data)
        self._changed(self)

    def _show(self) -> None:
        shown, self._unshown = self._unshown, []
        self._announcer.deltas(self.job.id, self.last_seq - len(shown) + 1, shown)

    def take_chunk(self) -> DeltaChunk | None:
        """Return what has not been stored yet as one chunk."""
        if not self._unstored:
            return None
        deltas, self._unstored = self._unstored, []
        first = self.last_seq - len(deltas) + 1
        return DeltaChunk(self.job.id, self.job.lease_no, first, self.last_seq, orjson.dumps(deltas).decode())


class DeltaWriter:
    """Stores the deltas of all streams of the process together, every ``flush_s`` seconds."""

    def __init__(self, engine: AsyncEngine, flush_s: float) -> None:
        self._engine = engine
        self._flush_s = flush_s
        self._changed: dict[DeltaStream, None] = {}
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start storing on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="delta-writer")

    async def stop(self) -> None:
        """Stop; what is left goes with the outcomes of its attempts."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def note(self, stream: DeltaStream) -> None:
        """Remember that ``stream`` has something to store."""
        self._changed[stream] = None
        self._wake.set()

    async def settle(self, stream: DeltaStream) -> DeltaChunk | None:
        """Return the rest of a stream that ends, once no earlier chunk of it is still on its way."""
        self._changed.pop(stream, None)
        async with self._writing:
            return stream.take_chunk()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._flush()
            await asyncio.sleep(self._flush_s)

    async def _flush(self) -> None:
        async with self._writing:
            streams, self._changed = list(self._changed), {}
            chunks = [chunk for stream in streams if (chunk := stream.take_chunk()) is not None]
            while chunks:
                try:
                    await store_deltas(self._engine, chunks)
                except DATABASE_ERRORS as error:
                    # The chunks must not be lost: a stream with a hole could never be resumed.
                    _log.warning("deltas_not_stored", error=type(error).__name__, chunks=len(chunks))
                    await asyncio.sleep(0.5)
                else:
                    return
