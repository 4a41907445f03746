"""A small HTTP/2 server over TLS that speaks a chat API, does as the prompt says, and remembers what happened to it."""

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.settings import SettingCodes, Settings


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "test.crt", folder / "test.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def server_tls(files: tuple[Path, Path], protocols: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    context.set_alpn_protocols(list(protocols))
    return context


class Http2Server:
    """The last word of a prompt steers its answer.

    `hang` answers nothing, `flood` sends 400 kB and no end, `big` sends 3 MB, `refuse` refuses the stream once, `goaway`
    answers and says good-bye, `drop` cuts the connection; anything else is answered. A job named `early` gets its 413 before
    its body is there; `stream` streams one token, and the rest when `finish` is called.
    """

    def __init__(self, files: tuple[Path, Path], *, streams: int = 100, protocols: Sequence[str] = ("h2",)) -> None:
        self.connections: list[_Connection] = []
        self.prompts: list[str] = []
        self.resets: list[int] = []
        self.streams = streams
        self.refused = 0
        self.finish: Callable[[], None] = lambda: None
        self.url = ""
        self._tls = server_tls(files, protocols)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, ssl=self._tls)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
        await self._server.wait_closed()


class _Connection(asyncio.Protocol):
    def __init__(self, server: Http2Server) -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.bodies: dict[int, bytearray] = {}
        self.paths: dict[int, str] = {}
        self.waiting: dict[int, bytearray] = {}
        self.endless: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server.connections.append(self)
        settings = {SettingCodes.MAX_CONCURRENT_STREAMS: self.server.streams}
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self.bodies[event.stream_id] = bytearray()
            self.paths[event.stream_id] = dict(cast("Any", event.headers))[":path"]
            if dict(cast("Any", event.headers)).get("x-coatcheck-job-id") == "early":
                self.h2.send_headers(event.stream_id, [(":status", "413")], end_stream=True)
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.answer(event.stream_id)
        elif isinstance(event, StreamReset):
            self.server.resets.append(int(event.error_code))
            self.waiting.pop(event.stream_id, None)
        elif isinstance(event, WindowUpdated):
            for stream_id in list(self.waiting):
                self.write(stream_id)

    def answer(self, stream_id: int) -> None:
        body = bytes(self.bodies[stream_id])
        if not body:
            self.send(stream_id, b'{"data":[]}')
            return
        prompt = json.loads(body)["messages"][0]["content"]
        self.server.prompts.append(prompt[-40:])
        wish = prompt.split()[-1]
        if wish == "hang":
            return
        if wish == "refuse" and not self.server.refused:
            self.server.refused += 1
            self.h2.reset_stream(stream_id, 7)
            return
        if wish == "drop":
            self.h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/json")])
            self.flush()
            self.transport.abort()
            return
        if wish == "stream":
            self.h2.send_headers(stream_id, [(":status", "200"), ("content-type", "text/event-stream")])
            self.h2.send_data(stream_id, b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n')
            self.server.finish = lambda: self.finish(stream_id)
            return
        text = "x" * {"flood": 400_000, "big": 3_000_000}.get(wish, 0) or f"heard {len(prompt)}"
        message = {"role": "assistant", "content": text}
        reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        self.send(stream_id, json.dumps(reply).encode(), endless=wish == "flood")
        if wish == "goaway":
            self.h2.close_connection(last_stream_id=stream_id)

    def finish(self, stream_id: int) -> None:
        last = b'data: {"choices":[{"index":0,"delta":{"content":" two"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        self.h2.send_data(stream_id, last, end_stream=True)
        self.flush()

    def send(self, stream_id: int, body: bytes, *, endless: bool = False) -> None:
        head = [(":status", "200"), ("content-type", "application/json"), ("x-ratelimit-remaining-requests", "9")]
        self.h2.send_headers(stream_id, head)
        self.waiting[stream_id] = bytearray(body)
        if endless:
            self.endless.add(stream_id)
        self.write(stream_id)

    def write(self, stream_id: int) -> None:
        """As much as the windows allow; the rest when they open again."""
        left = self.waiting[stream_id]
        while left:
            size = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, len(left))
            if size <= 0:
                return
            self.h2.send_data(stream_id, bytes(left[:size]))
            del left[:size]
        del self.waiting[stream_id]
        if stream_id not in self.endless:
            self.h2.end_stream(stream_id)
