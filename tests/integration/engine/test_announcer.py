"""Announcements: made in the background, and lost rather than waited for."""

import asyncio

from redis.asyncio import Redis

from core import ids
from core.announce import Announcer, open_redis


async def test_what_redis_does_not_take_is_dropped_and_holds_nobody_up() -> None:
    client = open_redis("unix:///nonexistent/redis.sock?db=0", 0.2)
    announcer = Announcer(client)
    announcer.start()
    job = ids.new_id()
    for _ in range(50_000):
        announcer.moved([job])
        announcer.deltas(job, 1, [])
    assert len(announcer._deltas) <= 10_000
    assert sum(map(len, announcer._ids.values())) <= 10_001
    await announcer.stop()
    await client.aclose()


async def test_an_announcer_outlives_a_client_that_breaks_in_its_own_way() -> None:
    said = asyncio.Event()

    class Odd(Redis):
        broke = False

        async def publish(self, *_: object, **__: object) -> int:
            if not self.broke:
                self.broke = True
                raise AttributeError("'NoneType' object has no attribute 'write'")
            said.set()
            return 1

    announcer = Announcer(Odd())
    announcer.start()
    announcer.moved([ids.new_id()])
    while not announcer._redis.broke:  # type: ignore[attr-defined]  # noqa: ASYNC110 - there is nothing to wait on
        await asyncio.sleep(0)
    announcer.moved([ids.new_id()])
    async with asyncio.timeout(20):
        await said.wait()
    await announcer.stop()
