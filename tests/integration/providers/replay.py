"""A small HTTP server that answers with written exchanges, and remembers what it was sent."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

ANTHROPIC = Path(__file__).parents[2] / "fixtures" / "anthropic"


class Exchange:
    """One file of `tests/fixtures`."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        self.name = path.stem
        self.request: dict[str, Any] = document["request"]
        self.sent: dict[str, Any] = document["sent"]
        self.responses: list[dict[str, Any]] = document["responses"]
        self.answer: dict[str, Any] | None = document.get("answer")
        self.error: dict[str, Any] | None = document.get("error")

    def __str__(self) -> str:
        return self.name


def exchanges() -> list[Exchange]:
    return [Exchange(path) for path in sorted(ANTHROPIC.glob("*.json"))]


class ReplayServer:
    """Answers requests with `responses` in turn, on a free port of loopback; `held` keeps streams open until it is set."""

    def __init__(self) -> None:
        self.responses: list[dict[str, Any]] = []
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.held = asyncio.Event()
        self.held.set()
        self.gone = asyncio.Event()
        self.url = ""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)

    def will_answer(self, *responses: dict[str, Any]) -> None:
        self.responses = list(responses)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.held.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if request.method == "GET":
            return web.json_response({"data": [], "has_more": False})
        self.bodies.append(await request.json())
        given = self.responses.pop(0)
        headers = given.get("headers", {})
        if "events" not in given:
            return web.Response(status=given["status"], headers=headers, body=json.dumps(given["body"]).encode())
        return await self._stream(request, given["status"], headers, given["events"])

    async def _stream(
        self, request: web.Request, status: int, headers: dict[str, str], events: Iterable[dict[str, Any]]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        try:
            for event in events:
                await response.write(f"event: {event['event']}\ndata: {json.dumps(event['data'])}\n\n".encode())
                await self.held.wait()
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        return response
