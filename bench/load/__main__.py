"""`python -m bench.load`: reads an `Order` as JSON from standard input, writes what it saw as JSON to standard output."""

import asyncio
import json
import sys
import time
from collections import Counter
from itertools import cycle
from typing import Any

import uvloop

from bench.load.client import HttpClient, head
from bench.load.order import Order

_MOST_FAILURES = 2


async def post(order: Order) -> dict[str, Any]:
    """Post from all clients, each in a closed loop, until the time or the number of requests is used up.

    Returns the times of all answers (seconds since the start), their latencies (ms), and a count by status.
    """
    requests = cycle(_requests(order))
    clients = await asyncio.gather(*(HttpClient.open(order.host, order.port) for _ in range(order.clients)))
    answered: list[float] = []
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    left = order.requests or 2**31
    clock = time.perf_counter
    began = clock()
    deadline = began + order.seconds

    async def one(client: HttpClient) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            start = clock()
            if start > deadline:
                break
            status = await client.request(next(requests))
            end = clock()
            answered.append(end - began)
            latencies.append((end - start) * 1000)
            statuses[status] += 1

    used = time.process_time()
    await asyncio.gather(*(one(client) for client in clients))
    took = clock() - began
    for client in clients:
        client.close()
    return {
        "seconds": took,
        "answered": answered,
        "latencies_ms": latencies,
        "statuses": {str(status): count for status, count in statuses.items()},
        "own_cpu_share": (time.process_time() - used) / took,
        "last_body": clients[0].body.decode(errors="replace")[:300],
    }


async def round_trips(order: Order) -> dict[str, Any]:
    """One client, one job after the other: the time from POST to the result in the client's hands (ms), for each."""
    client = await HttpClient.open(order.host, order.port)
    ways = {"prefer": _prefer, "long_poll": _long_poll, "poll": _poll, "plain": _plain}
    latencies: list[float] = []
    failures = 0
    for request, _ in zip(cycle(_requests(order)), range(order.requests), strict=False):
        start = time.perf_counter()
        done = await ways[order.way](client, order, request)
        latencies.append((time.perf_counter() - start) * 1000)
        failures += not done
        if failures > _MOST_FAILURES:  # each costs a whole wait, and the number is lost anyway
            break
        if order.pause_s:
            await asyncio.sleep(order.pause_s)
    client.close()
    return {"latencies_ms": latencies, "failures": failures, "last_body": client.body.decode(errors="replace")[:300]}


async def _prefer(client: HttpClient, _order: Order, request: bytes) -> bool:
    return await client.request(request) == 200 and b'"succeeded"' in client.body


async def _plain(client: HttpClient, _order: Order, request: bytes) -> bool:
    return await client.request(request) == 200


async def _long_poll(client: HttpClient, order: Order, request: bytes) -> bool:
    if await client.request(request) != 202:
        return False
    get = _get(order, json.loads(client.body)["id"], "?wait=20")
    return await client.request(get) == 200 and b'"succeeded"' in client.body


async def _poll(client: HttpClient, order: Order, request: bytes) -> bool:
    if await client.request(request) != 202:
        return False
    get = _get(order, json.loads(client.body)["id"], "")
    deadline = time.perf_counter() + 20
    while time.perf_counter() < deadline:
        await asyncio.sleep(0.001)
        if await client.request(get) == 200 and b'"succeeded"' in client.body:
            return True
    return False


def _get(order: Order, job: str, query: str) -> bytes:
    return head("GET", f"{order.path}/{job}{query}", order.host, key=order.key)


def _requests(order: Order) -> list[bytes]:
    """All requests, made beforehand: while the clock runs the generator only sends and counts."""
    more = f"prefer: wait={order.prefer_wait}\r\n" if order.prefer_wait else ""
    bodies = [body.encode() for body in order.bodies]
    return [head("POST", order.path, order.host, key=order.key, more=more, length=len(body)) + body for body in bodies]


def main() -> None:
    """Entry point."""
    order = Order(**json.loads(sys.stdin.read()))
    told = uvloop.run(post(order) if order.way == "post" else round_trips(order))
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
