"""Streamed deltas: numbered at once, shown live within a tick of the loop, stored in chunks.

Readers take the stored ones up to their end and then the live ones; both carry the same numbers.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.announce import Announcer
from core.store.failures import DATABASE_ERRORS, is_crossed, is_outage
from core.store.work import DeltaChunk, store_deltas
from workers.engine.job import Job
from workers.providers.protocol import Delta

_log = structlog.get_logger(__name__)


class DeltaStream:
    """The deltas of one attempt.

    Attributes:
        last_seq: the number of the last event this attempt told.
        refused: the database takes none of its chunks; they go with its outcome, which is where such a job fails.
    """

    def __init__(self, job: Job, announcer: Announcer, changed: Callable[["DeltaStream"], None]) -> None:
        self.job = job
        self.last_seq = job.event_seq
        self.refused = False
        self._announcer = announcer
        self._changed = changed
        self._reset_at = job.event_seq
        self._chunks: list[DeltaChunk] = []
        self._unstored: list[dict[str, Any]] = []
        self._unshown: list[dict[str, Any]] = []

    @property
    def streamed(self) -> bool:
        """Whether readers have deltas that a new beginning would repeat."""
        return self.last_seq > self._reset_at

    @property
    def told(self) -> bool:
        """Whether this attempt told anything at all."""
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

    def reset(self, reason: str) -> None:
        """Tell readers to forget the deltas so far: the answer begins again, from another upstream.

        Only the store is told: the live deltas that follow leave a gap where the reset is, which sends readers there.
        """
        if not self.streamed:
            return
        self._show()
        self._cut()
        self.last_seq += 1
        self._reset_at = self.last_seq
        data = orjson.dumps({"reason": reason}).decode()
        self._chunks.append(DeltaChunk(self.job.id, self.job.lease_no, self.last_seq, self.last_seq, data, "job.reset"))
        self._changed(self)

    def _show(self) -> None:
        shown, self._unshown = self._unshown, []
        if not shown:
            return
        self._announcer.deltas(self.job.id, self.last_seq - len(shown) + 1, shown)

    def take_chunks(self) -> list[DeltaChunk]:
        """Return what has not been stored yet, in order."""
        self._cut()
        chunks, self._chunks = self._chunks, []
        return chunks

    def take_back(self, chunks: list[DeltaChunk]) -> None:
        """Put chunks back that could not be stored, before what came since."""
        self._chunks[:0] = chunks

    def _cut(self) -> None:
        if self._unstored:
            deltas, self._unstored = self._unstored, []
            first = self.last_seq - len(deltas) + 1
            text = orjson.dumps(deltas).decode()
            self._chunks.append(DeltaChunk(self.job.id, self.job.lease_no, first, self.last_seq, text))


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

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What stores the deltas; once started, it does not end before ``stop``."""
        return () if self._task is None else (self._task,)

    async def stop(self) -> None:
        """Stop; what is left goes with the outcomes of its attempts."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def note(self, stream: DeltaStream) -> None:
        """Remember that ``stream`` has something to store."""
        if not stream.refused:
            self._changed[stream] = None
            self._wake.set()

    async def settle(self, stream: DeltaStream) -> list[DeltaChunk]:
        """Return the rest of a stream that ends, once no earlier chunk of it is still on its way."""
        self._changed.pop(stream, None)
        async with self._writing:
            return stream.take_chunks()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._flush()
            await asyncio.sleep(self._flush_s)

    async def _flush(self) -> None:
        async with self._writing:
            streams, self._changed = list(self._changed), {}
            await self._store([(stream, chunks) for stream in streams if (chunks := stream.take_chunks())])

    async def _store(self, taken: list[tuple[DeltaStream, list[DeltaChunk]]]) -> None:
        while taken:
            try:
                await store_deltas(self._engine, [chunk for _, chunks in taken for chunk in chunks])
            except DATABASE_ERRORS as error:
                if not (is_outage(error) or is_crossed(error)):
                    await self._isolate(taken, error)
                    return
                # The chunks must not be lost: a stream with a hole could never be resumed.
                _log.warning("deltas_not_stored", error=type(error).__name__, streams=len(taken))
                await asyncio.sleep(0.5)
            else:
                return

    async def _isolate(self, taken: list[tuple[DeltaStream, list[DeltaChunk]]], error: Exception) -> None:
        """No stream pays for what another one says."""
        if len(taken) > 1:
            for one in taken:
                await self._store([one])
            return
        ((stream, chunks),) = taken
        _log.error("deltas_refused", job_id=ids.encode(ids.JOB, stream.job.id), error=type(error).__name__)
        stream.refused = True
        stream.take_back(chunks)
