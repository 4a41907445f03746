"""Responses as ready bytes: one start and one body message, no header objects."""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

Headers = Sequence[tuple[bytes, bytes]]


class Answer:
    """A complete response. Cheaper than Starlette's `Response` because nothing is parsed or looked up again."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Headers = (), content_type: bytes = b"application/json"
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        headers = [*self.headers]
        if self.status not in {204, 304}:
            headers.append((b"content-type", self.content_type))
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def json_answer(value: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """Return `value` as JSON."""
    return Answer(status, orjson.dumps(value), headers)
