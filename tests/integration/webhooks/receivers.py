"""A webhook receiver on a raw socket, so that it can also misbehave below HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@dataclass
class Received:
    line: str
    headers: dict[str, str]
    body: bytes


# What to do with a request: bytes to answer, or a coroutine that writes by itself and says whether to go on.
Behaviour = Callable[["Received", asyncio.StreamWriter], Awaitable[bool]]


def always(*replies: bytes) -> Behaviour:
    """Answers with the given replies in turn; the last one again and again."""
    left = list(replies)

    async def behave(_: Received, writer: asyncio.StreamWriter) -> bool:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        return True

    return behave


async def hang(_: Received, __: asyncio.StreamWriter) -> bool:
    await asyncio.Event().wait()
    return False


@dataclass
class Receiver:
    behave: Behaviour
    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    answered: int = 0
    closed_early: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/hook?x=1"

    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.requests]

    async def until(self, enough: Callable[["Receiver"], bool], seconds: float = 20) -> None:
        """Wait for a state; fails loudly when it never comes."""
        async with asyncio.timeout(seconds):
            while not enough(self):
                self.changed.clear()
                await self.changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.closed_early.set()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:-2])
        headers = {name.lower(): value for name, value in pairs}
        request = Received(head[0], headers, await reader.readexactly(int(headers.get("content-length", "0"))))
        self.requests.append(request)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self.changed.set()
        try:
            go_on = await self.behave(request, writer)
            await writer.drain()
        finally:
            self.open_now -= 1
            self.answered += 1
            self.changed.set()
        return go_on


@asynccontextmanager
async def receiving(
    behave: Behaviour | bytes = OK, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(
        always(behave) if isinstance(behave, bytes) else behave, host=host, scheme="https" if tls else "http"
    )
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
