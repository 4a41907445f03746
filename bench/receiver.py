"""`python -m bench.receiver`: a webhook receiver that answers 204 at once, remembers what came, and tells it at `/seen`."""

import asyncio
import sys
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httptools
import orjson
import uvloop
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection."""

    ids: set[str] = set()  # noqa: RUF012 - shared by all connections, as intended
    first: tuple[dict[str, str], bytes] | None = None

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""
        self._url = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._headers, self._body, self._url = {}, b"", b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        if self._parser.get_method() == b"POST":
            Receiver.ids.add(self._headers.get("webhook-id", ""))
            if self._url.endswith(b"/0") and Receiver.first is None:
                Receiver.first = self._headers, self._body
            self._transport.write(_OK)
            return
        secret = parse_qs(urlsplit(self._url.decode()).query).get("secret", [""])[0]
        told = orjson.dumps({"ids": len(Receiver.ids), "verified": verified(Receiver.first, secret)})
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))


def verified(seen: tuple[dict[str, str], bytes] | None, secret: str) -> bool:
    """Tell whether the request carries a right signature."""
    if seen is None:
        return False
    headers, body = seen
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


async def serve() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    sys.stdout.write(f"receiver ready http://{host}:{port}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
