"""Traffic in three shapes, posted at the moments that the shape says, whatever the answers take."""

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from bench.load.client import HttpClient, head
from bench.world import World

BURST: Final = 32
_CLIENTS: Final = 64


def steady(per_s: float, seconds: float) -> list[float]:
    """Return moments (seconds from the start) of independent arrivals."""
    chance = random.Random(1)
    return sorted(chance.uniform(0, seconds) for _ in range(round(per_s * seconds)))


def bursty(per_s: float, seconds: float) -> list[float]:
    """Return moments of crowds of `BURST` that come at once, at uneven intervals."""
    chance = random.Random(2)
    moments: list[float] = []
    at = 0.0
    while at < seconds:
        moments += [at] * BURST
        at += BURST / per_s * chance.uniform(0.5, 1.5)
    return moments


def ramp(per_s: float, seconds: float) -> list[float]:
    """Return moments of arrivals whose rate grows evenly from nothing to `per_s`."""
    chance = random.Random(3)
    return sorted(seconds * math.sqrt(chance.random()) for _ in range(round(per_s * seconds / 2)))


SHAPES: Final = {"steady": steady, "bursty": bursty, "ramp": ramp}


def post_at(
    world: World,
    port: int,
    requests: Sequence[str],
    moments: Sequence[float],
    *,
    then: Callable[[], None] | None = None,
    at_s: float = 0,
) -> None:
    """Post each request to `/v1/jobs` at its moment; ``then`` is called ``at_s`` seconds after the start.

    Raises:
        RuntimeError: when a job was not accepted.
    """

    async def run() -> None:
        loop = asyncio.get_running_loop()
        clients: asyncio.Queue[HttpClient] = asyncio.Queue()
        for _ in range(_CLIENTS):
            clients.put_nowait(await HttpClient.open("127.0.0.1", port))
        bodies = [request.encode() for request in requests]
        whole = [head("POST", "/v1/jobs", "bench", key=world.key, length=len(body)) + body for body in bodies]
        began = loop.time()
        if then is not None:
            # In a thread: to end a process takes a moment, and the pace must not suffer.
            loop.call_later(at_s, loop.run_in_executor, None, then)

        async def one(request: bytes) -> None:
            client = await clients.get()
            status = await client.request(request)
            if status != 202:
                raise RuntimeError(f"{status}: {client.body.decode(errors='replace')[:300]}")
            clients.put_nowait(client)

        async with asyncio.TaskGroup() as group:
            for request, moment in zip(whole, moments, strict=True):
                pause = began + moment - loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                group.create_task(one(request))
        while not clients.empty():
            clients.get_nowait().close()

    asyncio.run(run())
