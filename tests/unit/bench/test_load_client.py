import asyncio

import pytest

from bench.load.client import BadAnswer, HttpClient, head


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False


def connected() -> tuple[HttpClient, Wire]:
    client, wire = HttpClient(), Wire()
    client.connection_made(wire)
    return client, wire


async def test_answers_are_read_whole_however_they_arrive() -> None:
    client, wire = connected()
    answer = client.request(head("GET", "/", "h"))
    assert wire.written.startswith(b"GET / HTTP/1.1\r\n")
    for byte in b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello":
        assert not answer.done()
        client.data_received(bytes([byte]))
    assert await answer == 202
    assert client.body == b"hello"


async def test_an_answer_without_a_body_is_over_with_its_head() -> None:
    client, _ = connected()
    answer = client.request(head("GET", "/", "h"))
    client.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await answer == 204
    assert client.body == b""


async def test_one_connection_serves_one_request_after_the_other() -> None:
    client, _ = connected()
    for number in range(3):
        answer = client.request(head("GET", "/", "h"))
        client.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number)
        assert await answer == 200
        assert client.body == b"%d" % number


async def test_a_server_that_hangs_up_is_an_error_and_not_an_answer() -> None:
    client, _ = connected()
    answer = client.request(head("GET", "/", "h"))
    client.connection_lost(None)
    with pytest.raises(BadAnswer):
        await answer


def test_a_post_says_how_long_its_body_is() -> None:
    text = head("POST", "/v1/jobs", "localhost", key="k", more="prefer: wait=5\r\n", length=12).decode()
    assert text.startswith("POST /v1/jobs HTTP/1.1\r\n")
    assert text.endswith("\r\n\r\n")
    assert {"authorization: Bearer k", "content-length: 12", "prefer: wait=5"} <= set(text.split("\r\n"))
