"""Requests that leave at their moments, whatever the answers take: as users do, who know nothing of each other."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from bench.load.client import HttpClient, head


@dataclass(frozen=True, slots=True)
class Answered:
    """One request's answer.

    Attributes:
        at: when the request was due, in seconds since the epoch.
        took_ms: from then to the whole answer; a generator that is late counts as the system's time.
        status: of HTTP.
        body: as it came.
    """

    at: float
    took_ms: float
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return orjson.loads(self.body)


class Crowd:
    """Clients of one server; a connection is opened when all others are in use. To be used within one event loop.

    Args:
        url: `http://host:port`.
        key: the API key.
        wait_s: sent as `Prefer: wait` with each POST; 0 sends none.
    """

    def __init__(self, url: str, key: str, *, wait_s: int = 0) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._key = key
        self._more = f"prefer: wait={wait_s}\r\n" if wait_s else ""
        self._idle: list[HttpClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._idle:
            client.close()

    def post(self, path: str, body: bytes) -> bytes:
        """Return a whole request."""
        return head("POST", path, self._host, key=self._key, more=self._more, length=len(body)) + body

    def get(self, path: str) -> bytes:
        """Return a whole request."""
        return head("GET", path, self._host, key=self._key)

    async def send(self, request: bytes, at: float | None = None) -> Answered:
        """Send a whole request now; `at` is when it was due.

        Raises:
            OSError, BadAnswer: when the server hangs up or is not there.
        """
        at = time.time() if at is None else at
        client = self._idle.pop() if self._idle else await HttpClient.open(self._host, self._port)
        status = await client.request(request)
        answered = Answered(at, (time.time() - at) * 1000, status, client.body)
        self._idle.append(client)
        return answered

    async def send_at(self, moments: Iterable[float], requests: Iterable[bytes]) -> list[Answered]:
        """Send each request at its moment, in seconds from now; return the answers in the order of the requests.

        Both are read as time goes by, so that a generator can go on until something has happened.
        """
        began = time.time()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for moment, request in zip(moments, requests, strict=False):
                await asyncio.sleep(max(0.0, began + moment - time.time()))
                tasks.append(group.create_task(self.send(request, began + moment)))
        return [task.result() for task in tasks]
