import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from itertools import repeat

import pytest

from bench.load.open_loop import Crowd

_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{"said":"%06d"}'


class Server:
    """Answers with a number, the first request last; counts its connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.second = asyncio.Event()
        self.serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.add(asyncio.current_task())
        while head := (await reader.read(10_000)):
            number = len(self.requests)
            self.requests.append(head)
            if number == 0:
                await self.second.wait()
            else:
                self.second.set()
            writer.write(_ANSWER % number)
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()
    await asyncio.gather(*(task for task in made.serving if task is not None))


async def test_requests_leave_at_their_moments_whatever_the_answers_take(server: tuple[Server, str]) -> None:
    counted, url = server
    async with asyncio.timeout(10), Crowd(url, "key", wait_s=5) as crowd:
        # The first is answered only when the second has come: a closed loop would wait for ever.
        answers = await crowd.send_at([0.0, 0.01], [crowd.post("/a", b"{}"), crowd.post("/b", b"{}")])
    assert [answer.json["said"] for answer in answers] == ["000000", "000001"]
    assert counted.connections == 2
    assert counted.requests[0].startswith(b"POST /a ") and b"prefer: wait=5" in counted.requests[0]


async def test_a_request_that_leaves_late_has_waited_since_it_was_due(server: tuple[Server, str]) -> None:
    counted, url = server
    counted.second.set()
    due = time.time() - 3
    async with Crowd(url, "key") as crowd:
        answer = await crowd.send(crowd.get("/"), due)
        await crowd.send(crowd.get("/"))
    assert answer.at == due and answer.took_ms >= 3000
    assert counted.connections == 1


async def test_moments_are_read_as_time_goes_by_so_that_what_happens_meanwhile_can_end_them(
    server: tuple[Server, str],
) -> None:
    counted, url = server
    counted.second.set()

    def until_three_have_come() -> Iterator[float]:
        while len(counted.requests) < 3:
            yield 0.0

    async with asyncio.timeout(10), Crowd(url, "key") as crowd:
        answers = await crowd.send_at(until_three_have_come(), repeat(crowd.get("/")))
    assert len(answers) >= 3 and all(answer.status == 200 for answer in answers)
