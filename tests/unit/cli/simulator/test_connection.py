import asyncio

from cli.simulator.connection import Connection, Request


class Silent:
    """Answers nothing: the tests write themselves."""

    def handle(self, connection: Connection, request: Request) -> None: ...

    def opened(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


def connected() -> tuple[Connection, Wire]:
    connection, wire = Connection(Silent()), Wire()
    connection.connection_made(wire)
    return connection, wire


def test_nothing_to_send_is_no_chunk_because_an_empty_one_would_end_the_stream() -> None:
    connection, wire = connected()
    connection.send_chunk(b"")
    connection.send_chunk(b"data")
    assert wire.written == b"4\r\ndata\r\n"


def test_the_last_chunk_is_followed_by_one_end() -> None:
    connection, wire = connected()
    connection.send_chunk(b"data", last=True)
    connection.send_chunk(b"", last=True)
    assert wire.written == b"4\r\ndata\r\n0\r\n\r\n" + b"0\r\n\r\n"
