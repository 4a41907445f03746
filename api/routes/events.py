"""GET /v1/jobs/{id}/events: what happens to a job, from any point on, as server-sent events.

Stored events are the truth: the stream reads them up to their tail, then goes on with live deltas as long as these follow without
a gap, and returns to the stored ones whenever they don't. So a reader may come late, come back, come to another process, or come
without Redis.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import JOBS_READ
from api.lookup import path_id
from api.problems import Problem, invalid_query, not_found
from api.routing import Call, needs
from core import ids
from core.lifecycle import TERMINAL
from core.live import ShuttingDown, Watch
from core.render import render_job
from core.store.failures import DATABASE_ERRORS
from core.store.reading import read_events, read_job

log = structlog.get_logger("api.events")

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_PAGE: Final = 500
#: Deltas reach the store within 100 ms; a gap in the live ones is looked for there after so long.
_GAP_S: Final = 0.1
_STORE_AWAY_S: Final = 0.5
_ENDS: Final = frozenset(f"job.{status}" for status in TERMINAL)
_FIRST: Final = 1
_LAST_NUMBER: Final = 2**31 - 1


@needs(JOBS_READ)
async def job_events(call: Call) -> ASGIApp:
    """Stream the job's events after the one that the caller has seen last."""
    job = path_id(call, ids.JOB, "job")
    after = _after(call)
    if await read_job(call.services.engine, call.key.tenant_id, job) is None:
        raise not_found("job")
    if call.head.alone:
        return _head_alone
    return _Stream(call, job, after)


async def _head_alone(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _after(call: Call) -> int:
    asked = _number(call.query("after").get("after"), "after", "invalid_request")
    resumed = _number(call.header(b"last-event-id"), "Last-Event-ID", "invalid_header")
    # A browser that reconnects sends the header, beside the address it began with: the header is newer.
    return resumed if resumed is not None else asked or 0


def _number(text: str | None, name: str, code: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LAST_NUMBER):
        detail = f"{name} is the number of an event."
        raise Problem(code, detail, param=name) if code == "invalid_header" else invalid_query(name, detail)
    return int(text)


def _event(number: int, kind: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), data)


class _Stream:
    """One reader's stream, as the response that Starlette expects."""

    def __init__(self, call: Call, job: UUID, after: int) -> None:
        self._call = call
        self._job = job
        self._seen = after
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send events until the job has ended, the reader leaves or the process stops."""
        services = self._call.services
        with services.hub.watch(self._call.key.tenant_id, self._job, streaming=True) as watch:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            reader = asyncio.create_task(self._notice_leaving(receive, watch))
            try:
                # The head alone. What tells browsers how soon to come back rides on the first event: a block of its own would
                # look like an empty event to simple parsers.
                await send({"type": "http.response.body", "body": b"", "more_body": True})
                with suppress(ShuttingDown):
                    async for piece in self._pieces(watch):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                reader.cancel()

    async def _notice_leaving(self, receive: Receive, watch: Watch) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        watch.wake()

    async def _pieces(self, watch: Watch) -> AsyncIterator[bytes]:
        keepalive_s = self._call.services.api.sse_keepalive_s
        clock = asyncio.get_running_loop().time
        told_at, gap_s = clock(), _GAP_S
        look, first = True, b"retry: 1000\n"
        while not self._gone:
            piece, ended = b"", False
            if look:
                sent = self._seen
                try:
                    piece, ended = await self._stored()
                except DATABASE_ERRORS as error:
                    # Whatever was read before it failed has not been sent.
                    self._seen = sent
                    log.info("stream_waits_for_store", error=type(error).__name__)
                    await asyncio.sleep(_STORE_AWAY_S)
                    continue
            live, gap = self._live(watch)
            piece += live
            if piece:
                told_at, gap_s = clock(), _GAP_S
                yield first + piece
                first = b""
            if ended:
                return
            watch.tail = self._seen
            woken = await watch.changed(gap_s if gap else max(0.0, told_at + keepalive_s - clock()))
            gap_s = min(1.0, gap_s * 2) if gap else _GAP_S
            look = gap or not woken or watch.stirred
            watch.stirred = False
            if clock() >= told_at + keepalive_s:
                told_at = clock()
                yield b": still here\n"  # no blank line: it would end an event that never began

    def _live(self, watch: Watch) -> tuple[bytes, bool]:
        """Return the live deltas that follow what was sent, and whether there are some that don't."""
        pieces = []
        while watch.deltas and watch.deltas[0].seq <= self._seen + 1:
            delta = watch.deltas.popleft()
            if delta.seq == self._seen + 1:
                self._seen = delta.seq
                pieces.append(_event(delta.seq, "job.delta", orjson.dumps(delta.data)))
        return b"".join(pieces), bool(watch.deltas)

    async def _stored(self) -> tuple[bytes, bool]:
        """Return the stored events after what was sent, and whether the job's last end is among or behind them."""
        call = self._call
        pieces: list[bytes] = []
        if self._seen < _FIRST:
            # Every job begins with this event, so nobody stores it.
            pieces.append(_event(_FIRST, "job.queued", b"{}"))
            self._seen = _FIRST
        while True:
            rows = await read_events(call.services.engine, call.key.tenant_id, self._job, self._seen, _PAGE)
            for row in rows:
                if row["type"] in _ENDS and row["data"] is None:
                    return await self._end(row, pieces)
                pieces.append(self._render(row, None))
            if len(rows) < _PAGE:
                break
        if pieces:
            return b"".join(pieces), False
        current = await self._current()
        return b"", current is None or (current["status"] in TERMINAL and current["event_seq"] <= self._seen)

    async def _end(self, row: Mapping[str, Any], pieces: list[bytes]) -> tuple[bytes, bool]:
        """Add the last end: its data is the job as it stands. If it moved on meanwhile, the stored event holds its data now."""
        current = await self._current()
        if current is None:
            return b"".join(pieces), True
        if current["event_seq"] == row["seq"]:
            pieces.append(self._render(row, orjson.dumps(render_job(current, self._call.services.public_url))))
            return b"".join(pieces), True
        more, over = await self._stored()
        return b"".join([*pieces, more]), over

    async def _current(self) -> Mapping[str, Any] | None:
        return await read_job(self._call.services.engine, self._call.key.tenant_id, self._job)

    def _render(self, row: Mapping[str, Any], job: bytes | None) -> bytes:
        """Return the events of one stored row that were not sent yet; a row of deltas holds many."""
        if row["type"] == "job.delta":
            deltas = orjson.loads(row["data"])
            fresh = [(row["seq"] + at, delta) for at, delta in enumerate(deltas) if row["seq"] + at > self._seen]
            self._seen = max(self._seen, row["last_seq"])
            return b"".join([_event(seq, "job.delta", orjson.dumps(delta)) for seq, delta in fresh])
        self._seen = row["last_seq"]
        data = job if job is not None else (row["data"] or "{}").encode()
        return _event(row["seq"], row["type"], data)
