"""One call over HTTP/2: what has arrived for it, and whether it is over."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded

Headers = list[tuple[bytes, bytes]]


class Http2Stream(httpx.AsyncByteStream):
    """One call on a connection; iterate for its body, and close it.

    Args:
        number: of the stream, odd.
        consumed: told when a reader has taken so many bytes.
        release: told when the call is over.
    """

    def __init__(
        self,
        number: int,
        consumed: "Callable[[Http2Stream, int], None]",
        release: "Callable[[Http2Stream], None]",
    ) -> None:
        self.number = number
        self.status = 0
        self.headers: Headers = []
        self.ended = False
        self.sent = False
        self._consumed = consumed
        self._release = release
        self._error: httpx.TransportError | None = None
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._moved = asyncio.Event()

    def push(self, event: Event) -> None:
        """Take what has arrived for this stream."""
        if isinstance(event, ResponseReceived):
            self.status = int(dict(event.headers)[b":status"])
            self.headers = [(name, value) for name, value in event.headers if not name.startswith(b":")]
        elif isinstance(event, DataReceived):
            self._chunks.append((bytes(event.data or b""), event.flow_controlled_length or 0))
        elif isinstance(event, StreamEnded):
            self.ended = True
        self._moved.set()

    def fail(self, error: httpx.TransportError) -> None:
        """The rest of the answer will not come."""
        if not self.ended:
            self._error = self._error or error
        self._moved.set()

    def wake(self) -> None:
        """Something that a sender waits for may have changed."""
        self._moved.set()

    @property
    def answered(self) -> bool:
        """Whether the head of the answer has come."""
        return self.status != 0

    @property
    def unread(self) -> int:
        """Bytes that arrived and were not read."""
        return sum(length for _, length in self._chunks)

    async def moved(self) -> None:
        """Wait until something happens on this stream. Raises httpx.TransportError if it broke."""
        if self._error is not None and not self._chunks:
            raise self._error
        self._moved.clear()
        await self._moved.wait()
        if self._error is not None and not self._chunks:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                data, length = self._chunks.popleft()
                self._consumed(self, length)
                if data:
                    yield data
            if self.ended:
                return
            await self.moved()

    async def aclose(self) -> None:
        self._release(self)
