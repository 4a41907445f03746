"""Carrying out what was planned, and undoing it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import psutil

from tests.soak.house import House
from tests.soak.plan import Fault

Doing = Callable[[House, Fault], Awaitable[None]]


async def _kill(house: House, fault: Fault) -> None:
    place = house.place(fault.target)
    if place.process.alive:
        place.killed = True
        place.process.kill()


async def _stop(house: House, fault: Fault) -> None:
    """SIGTERM; the supervisor has a new one as soon as the old one is gone."""
    place = house.place(fault.target)
    if place.process.alive:
        place.killed = True
        place.process.send(signal.SIGTERM)


async def _freeze(house: House, fault: Fault) -> None:
    process = house.place(fault.target).process
    if not process.alive:
        return
    process.send(signal.SIGSTOP)
    await asyncio.sleep(fault.for_s)
    if process.alive:
        process.send(signal.SIGCONT)


async def _empty_redis(house: House, _: Fault) -> None:
    with house.broker() as redis:
        await asyncio.to_thread(redis.flushall)


async def _kill_redis(house: House, fault: Fault) -> None:
    await asyncio.to_thread(house.redis.kill)
    await asyncio.sleep(fault.for_s)
    house.redis.start()  # in this thread: the server ends with the thread that started it


async def _fill_redis(house: House, fault: Fault) -> None:
    with house.broker() as redis:
        await asyncio.to_thread(redis.config_set, "maxmemory-policy", "noeviction")
        await asyncio.to_thread(redis.config_set, "maxmemory", 1)
        await asyncio.sleep(fault.for_s)
        await asyncio.to_thread(redis.config_set, "maxmemory", 0)


async def _demote_redis(house: House, fault: Fault) -> None:
    with house.broker() as redis:
        await asyncio.to_thread(redis.replicaof, "127.0.0.1", 1)
        await asyncio.sleep(fault.for_s)
        await asyncio.to_thread(redis.replicaof, "NO", "ONE")


async def _freeze_redis(house: House, fault: Fault) -> None:
    pid = house.redis.pid
    assert pid is not None
    server = psutil.Process(pid)
    server.suspend()
    await asyncio.sleep(fault.for_s)
    server.resume()


async def _stop_postgres(house: House, fault: Fault) -> None:
    await asyncio.to_thread(house.databases.server.stop, "immediate")
    await asyncio.sleep(fault.for_s)
    house.databases.server.start()


async def _freeze_postgres(house: House, fault: Fault) -> None:
    """The postmaster and all sessions of now: a disk that hangs, a virtual machine that is moved."""
    servers = house.databases.server.leftovers()
    for server in servers:
        with suppress(psutil.NoSuchProcess):
            server.suspend()
    await asyncio.sleep(fault.for_s)
    for server in servers:
        with suppress(psutil.NoSuchProcess):
            server.resume()


async def _reset_link(house: House, fault: Fault) -> None:
    house.links[fault.target].set("reset")
    house.links[fault.target].set("pass")


async def _half_open_link(house: House, fault: Fault) -> None:
    house.links[fault.target].set("stall-existing")


async def _stall_link(house: House, fault: Fault) -> None:
    """Nothing passes for a while; then whoever is connected still is told."""
    house.links[fault.target].set("stall")
    await asyncio.sleep(fault.for_s)
    house.links[fault.target].set("reset")
    house.links[fault.target].set("pass")


async def _refuse_link(house: House, fault: Fault) -> None:
    house.links[fault.target].set("reset")
    await asyncio.sleep(fault.for_s)
    house.links[fault.target].set("pass")


def _model(**changes: Any) -> Doing:
    async def steer(house: House, fault: Fault) -> None:
        await asyncio.to_thread(house.simulator.control, **changes)
        await asyncio.sleep(fault.for_s)
        await asyncio.to_thread(house.simulator.control, clear=True, release=True)

    return steer


async def _receiver(house: House, fault: Fault) -> None:
    house.receiver_mode = fault.name
    await asyncio.sleep(fault.for_s)
    house.receiver_mode = "well"


#: (kind of target, name of the fault) -> what is done
DOINGS: Mapping[tuple[str, str], Doing] = {
    ("worker", "killed"): _kill,
    ("worker", "frozen"): _freeze,
    ("worker", "told to stop"): _stop,
    ("api", "killed"): _kill,
    ("api", "frozen"): _freeze,
    ("api", "told to stop"): _stop,
    ("beat", "killed"): _kill,
    ("redis", "emptied"): _empty_redis,
    ("redis", "killed"): _kill_redis,
    ("redis", "full"): _fill_redis,
    ("redis", "made a replica"): _demote_redis,
    ("redis", "frozen"): _freeze_redis,
    ("postgres", "stopped at once"): _stop_postgres,
    ("postgres", "frozen"): _freeze_postgres,
    ("database-link", "reset"): _reset_link,
    ("database-link", "stalled"): _stall_link,
    ("database-link", "half open"): _half_open_link,
    ("database-link", "refused"): _refuse_link,
    ("redis-link", "reset"): _reset_link,
    ("redis-link", "stalled"): _stall_link,
    ("redis-link", "half open"): _half_open_link,
    ("redis-link", "refused"): _refuse_link,
    ("model", "errors"): _model(error={"status": 500, "rate": 0.6}),
    ("model", "rate limits"): _model(error={"status": 429, "retry_after_ms": 300, "rate": 0.6}),
    ("model", "broken replies"): _model(malformed="reset"),
    ("model", "hangs"): _model(hang=True),
    ("receiver", "errors"): _receiver,
    ("receiver", "hangs"): _receiver,
}


async def carry_out(house: House, fault: Fault) -> None:
    """Do it, and undo it when its time is over."""
    target, _, number = fault.target.rpartition("-")
    # On a slow machine the one before may take longer than was planned.
    async with house.turns[fault.target]:
        await DOINGS[target if number.isdigit() else fault.target, fault.name](house, fault)
