"""One HTTP/2 connection: many calls side by side, each of which can really be ended.

A thin layer over h2, which knows the protocol and does no I/O: bytes from the socket become events of streams, and what h2
has to say is written at once.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final, cast

import httpx
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    Event,
    RemoteSettingsChanged,
    StreamReset,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings

from workers.providers.http2_stream import Headers, Http2Stream
from workers.providers.transport import KEEP_ALIVE_S, StaleConnection, prepare_socket

_MOST_STREAMS: Final = 100
# A reader that falls behind holds at most this much; all readers together never stand in each other's way.
_STREAM_WINDOW: Final = 1_048_576
_CONNECTION_WINDOW: Final = 2**30


class Http2Connection(asyncio.Protocol):
    """Speaks HTTP/2 over one TLS connection; `settled` is done when the server has told its settings."""

    def __init__(self) -> None:
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing = False
        self.calls = 0
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._streams: dict[int, Http2Stream] = {}
        self._socket: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._idle: asyncio.TimerHandle | None = None

    # --- what the event loop tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)
        if (raw := transport.get_extra_info("socket")) is not None:
            prepare_socket(raw)
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: _MOST_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: 65_536,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except (ProtocolError, ValueError, KeyError) as error:
            # ValueError and KeyError: a status that is none.
            self._fail_all(httpx.RemoteProtocolError, f"HTTP/2: {type(error).__name__}")
            self.close()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._writable.set()
        reason = str(exc) if exc else "the connection was closed"
        self._fail_all(httpx.ReadError, reason)
        if not self.settled.done():
            self.settled.set_exception(httpx.ConnectError(reason))
            self.settled.exception()  # read here, in case that nobody waits any more

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _take(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            if not self.settled.done():
                self.settled.set_result(None)
            self._wake_all()
        elif isinstance(event, ConnectionTerminated):
            self._going_away(event.last_stream_id or 0)
        elif isinstance(event, StreamReset):
            if (stream := self._streams.get(event.stream_id or 0)) is not None:
                # Refused means: not one bit of it was looked at.
                refused = event.error_code == ErrorCodes.REFUSED_STREAM and not stream.answered
                kind = StaleConnection if refused else httpx.ReadError
                stream.fail(kind(f"HTTP/2 stream reset: {event.error_code}"))
        else:
            number: Any = getattr(event, "stream_id", None)
            if number == 0:  # a window of the whole connection
                self._wake_all()
            elif number in self._streams:
                self._streams[number].push(event)

    def _going_away(self, last: int) -> None:
        """No new calls here; those that the server has not looked at may be sent again elsewhere."""
        self.closing = True
        for stream in list(self._streams.values()):
            if stream.number > last:
                stream.fail(StaleConnection("the server is going away"))
        if not self._streams:
            self.close()

    # --- calls ---

    @property
    def room(self) -> int:
        """How many more calls may begin here."""
        if self.closing:
            return 0
        return min(_MOST_STREAMS, self._h2.remote_settings.max_concurrent_streams) - len(self._streams)

    async def send(self, headers: Headers, content: bytes) -> Http2Stream:
        """Send a request; returns when the head of its answer is there. Cancelling ends it upstream too."""
        reused = self.calls > 0
        self.calls += 1
        self._rest(False)
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = Http2Stream(number, self.consumed, self.release)
        try:
            self._h2.send_headers(number, headers, end_stream=not content)
            self._flush()
            stream.sent = not content
            await self._send_body(stream, content)
            while not stream.answered:
                await stream.moved()
        except ProtocolError as error:
            self.release(stream)
            raise httpx.LocalProtocolError(f"HTTP/2: {type(error).__name__}") from error
        except httpx.ReadError as error:
            self.release(stream)
            if reused and self.closing and type(error) is httpx.ReadError:
                raise StaleConnection(str(error)) from error
            raise
        except BaseException:
            self.release(stream)
            raise
        return stream

    async def _send_body(self, stream: Http2Stream, content: bytes) -> None:
        view = memoryview(content)
        while view and not stream.ended:  # an answer that is complete needs no more of the question
            await self._writable.wait()
            try:
                window = self._h2.local_flow_control_window(stream.number)
                if window <= 0:
                    await stream.moved()
                    continue
                size = min(window, self._h2.max_outbound_frame_size, len(view))
                self._h2.send_data(stream.number, view[:size], end_stream=size == len(view))
                stream.sent = size == len(view)
            except StreamClosedError:
                if not stream.answered:
                    await stream.moved()
                return
            view = view[size:]
            self._flush()

    def consumed(self, stream: Http2Stream, length: int) -> None:
        """A reader has taken bytes: the server may send as many more."""
        if length and not self._lost:
            self._h2.acknowledge_received_data(length, stream.number)
            self._flush()

    def release(self, stream: Http2Stream) -> None:
        """The call is over. If its answer has not come to its end, the server is told that nobody waits for it."""
        if self._streams.pop(stream.number, None) is None:
            return
        if not self._lost:
            if not (stream.ended and stream.sent):
                with suppress(ProtocolError):  # closed from the other side already
                    self._h2.reset_stream(stream.number, ErrorCodes.CANCEL)
            if unread := stream.unread:
                # The window of the connection is everybody's.
                self._h2.acknowledge_received_data(unread, stream.number)
            self._flush()
        if not self._streams:
            if self.closing:
                self.close()
            else:
                self._rest(True)

    def close(self) -> None:
        """Close the connection; calls under way break off."""
        self.closing = True
        self._rest(False)
        if self._socket is not None and not self._socket.is_closing():
            with suppress(ProtocolError):
                self._h2.close_connection()
                self._flush()
            self._socket.close()

    def _rest(self, idle: bool) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if idle:
            self._idle = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self.close)

    @property
    def _lost(self) -> bool:
        return self._socket is None or self._socket.is_closing()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._socket is not None and not self._socket.is_closing():
            self._socket.write(data)

    def _fail_all(self, kind: type[httpx.TransportError], reason: str) -> None:
        for stream in list(self._streams.values()):
            stream.fail(kind(reason))

    def _wake_all(self) -> None:
        for stream in self._streams.values():
            stream.wake()
