"""HTTP by hand: exact bytes out, the answer in, for requests that no client library would send."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import uvicorn

from api import server


@dataclass(frozen=True)
class RawAnswer:
    """One answer; `closed` tells that the server ended the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    def json(self) -> Any:
        return json.loads(self.body)


async def read_answer(reader: asyncio.StreamReader, *, head_only: bool = False) -> RawAnswer:
    """Read one answer with a content length, skipping interim ones."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    if status == 100:
        return await read_answer(reader, head_only=head_only)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    length = 0 if head_only else int(headers.get("content-length", 0))
    body = await reader.readexactly(length)
    return RawAnswer(status, headers, body, headers.get("connection") == "close")


async def exchange(port: int, *pieces: bytes) -> RawAnswer:
    """Send the pieces as they are and return the first answer; when it says close, wait until it is so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await asyncio.wait_for(read_answer(reader), 20)
        if answer.closed:
            await asyncio.wait_for(reader.read(), 20)
        return answer
    finally:
        writer.close()


class RunningApp:
    """An application behind a real uvicorn on a free port of loopback, in this event loop."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._listener = server.bind("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(server.config(app, grace_s=1))

    async def __aenter__(self) -> Self:
        config = self._server.config
        if not config.loaded:
            config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._listener])
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.should_exit = True
        await self._server.shutdown(sockets=[self._listener])


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something in this process is so; it has no event to wait for."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
