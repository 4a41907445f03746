"""A connection to Redis that was cut a moment ago: under uvloop, which API and workers run on, it says so in its own way."""

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.cache.storage import _in_time
from tests.support.proxy import Proxy


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_writing_to_a_connection_that_was_just_cut_is_a_lost_connection(redis: EmbeddedRedis, transport: str) -> None:
    async def work(url: str) -> None:
        client = open_redis(url, 1.0)
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection._writer.transport.abort()
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING", check_health=False)
        await client.connection_pool.release(connection)
        assert await client.ping()
        await client.aclose()

    with Proxy(str(redis.socket)) as proxy:
        uvloop.run(work(redis.url if transport == "unix" else f"redis://127.0.0.1:{proxy.port}/0"))


async def test_writing_to_a_connection_that_another_task_closes_is_a_lost_connection(redis: EmbeddedRedis) -> None:
    client = open_redis(redis.url, 1.0)
    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    writing = asyncio.create_task(connection.send_command("PING", check_health=False))
    await asyncio.sleep(0)
    await connection.disconnect(nowait=True)
    with suppress(RedisConnectionError):  # from Python 3.12 on it was written already
        await writing
    await client.connection_pool.release(connection)
    assert await client.ping()
    await client.aclose()


async def test_an_exchange_that_breaks_when_it_is_given_up_is_no_complaint() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    ended = asyncio.Event()

    async def breaks() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise RedisConnectionError from None

    with pytest.raises(TimeoutError):
        await _in_time(breaks(), 0.001)
    await ended.wait()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
