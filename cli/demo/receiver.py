"""A webhook receiver on this machine: what a customer would run, in a thread."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_ANSWER = 204


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST as it arrived: the exact bytes matter for the signature."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Accepts every POST on a free loopback port and keeps it."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._deliveries: list[Delivery] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._keep))
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        """The address for one kind of webhook."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def wait_for(self, path: str, seconds: float) -> Delivery | None:
        """The first delivery to `path`; None if none came within the time."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._first(path) is not None, seconds)
            return self._first(path)

    def _first(self, path: str) -> Delivery | None:
        return next((delivery for delivery in self._deliveries if delivery.path == path), None)

    def _keep(self, delivery: Delivery) -> None:
        with self._arrived:
            self._deliveries.append(delivery)
            self._arrived.notify_all()


def _handler(keep: Callable[[Delivery], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            keep(Delivery(self.path, dict(self.headers.items()), body))
            self.send_response(_ANSWER)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """The demo tells what arrives."""

    return Handler
