"""A TCP proxy that can misbehave, to stand between a process and its Postgres or Redis.

It runs on a thread of its own, so a test may block while traffic passes. Modes:

``pass``    what comes goes on
``stall``   nothing more passes, on old and new connections; nothing is closed: a half-open connection
``stall-existing``   connections of this moment stall for good, new ones pass
``refuse``  old connections pass, new ones are closed at once
``reset``   all connections are reset, now and whenever one comes

``catch(needle)`` waits for one message of a client and holds the server's answer to it back.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

Mode = Literal["pass", "stall", "stall-existing", "refuse", "reset"]
Verdict = Literal["pass", "cut"]
_T = TypeVar("_T")


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.open = asyncio.Event()
        self.open.set()

    def reset(self) -> None:
        """End both sides at once."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0 and raw.family == socket.AF_INET:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Catch:
    """A message that a client will send, and what becomes of it.

    Args:
        needle: bytes that the message contains.
        forward: whether the server gets it; its answer is held back either way.
        after: bytes that the same connection must have sent before or with it.
    """

    def __init__(self, needle: bytes, *, forward: bool, after: bytes = b"") -> None:
        self.needle = needle
        self.forward = forward
        self.after = after
        self.suspect: Link | None = None
        self.caught: Future[None] = Future()
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.link: Link | None = None

    def wait(self, timeout_s: float = 20) -> None:
        """Wait until the message came and, if it was forwarded, until the server has answered it."""
        self.caught.result(timeout_s)


class Proxy:
    """Forwards connections to ``target``: a path of a Unix socket or a (host, port)."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._links: set[Link] = set()
        self._mode: Mode = "pass"
        self._catch: Catch | None = None
        self.port = 0
        self.accepted = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, mode: Mode) -> None:
        """Change the behaviour; returns when it is in force."""

        async def change() -> None:
            self._mode = mode
            for link in list(self._links):
                if mode in ("stall", "stall-existing"):
                    link.open.clear()
                elif mode == "reset":
                    link.reset()
            if mode == "stall-existing":
                self._mode = "pass"

        self._call(change())

    def catch(self, needle: bytes, *, forward: bool, after: bytes = b"") -> Catch:
        """Catch the next client message with ``needle``; the answer, or the message itself, waits for ``release``."""

        async def arm() -> Catch:
            self._catch = Catch(needle, forward=forward, after=after)
            return self._catch

        return self._call(arm())

    def release(self, catch: Catch, verdict: Verdict) -> None:
        """Let a caught exchange go on, or reset its connection."""

        async def decide() -> None:
            if not catch.verdict.done():
                catch.verdict.set_result(verdict)

        self._call(decide())

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for link in list(self._links):
            link.reset()
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._mode in ("refuse", "reset"):
            writer.transport.abort()
            return
        try:
            if isinstance(self._target, str):
                server_reader, server_writer = await asyncio.open_unix_connection(self._target)
            else:
                server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server_writer)
        if self._mode == "stall":
            link.open.clear()
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._pump(link, reader, server_writer, self._on_request)),
            asyncio.create_task(self._pump(link, server_reader, writer, self._on_answer)),
        ]
        try:
            # Cancelled when the proxy ends; asyncio's server would report that as an error.
            with suppress(asyncio.CancelledError):
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._links.discard(link)
            for end in (writer, server_writer):
                end.transport.abort()

    async def _pump(
        self,
        link: Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        look: Callable[[Link, bytes], Coroutine[Any, Any, bool]],
    ) -> None:
        try:
            while data := await reader.read(65536):
                await link.open.wait()
                if not await look(link, data):
                    return
                writer.write(data)
                await writer.drain()
            await link.open.wait()
        except OSError:
            return

    async def _on_request(self, link: Link, data: bytes) -> bool:
        catch = self._catch
        if catch is None or catch.link is not None:
            return True
        if catch.after in data:
            catch.suspect = link
        if catch.suspect is not link or catch.needle not in data:
            return True
        catch.link = link
        return catch.forward or await self._hold(catch)

    async def _on_answer(self, link: Link, _data: bytes) -> bool:
        catch = self._catch
        if catch is None or catch.link is not link or not catch.forward or catch.caught.done():
            return True
        return await self._hold(catch)

    async def _hold(self, catch: Catch) -> bool:
        catch.caught.set_result(None)
        if await catch.verdict == "pass":
            return True
        if catch.link is not None:
            catch.link.reset()
        return False
