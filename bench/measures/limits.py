"""`limits`: 64 clients in four processes against one key's tokens per minute, looked at in every 60 seconds."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from bench.figures import Figure, Must, percentile
from bench.world import World
from core.announce import open_redis
from core.limits import Accounts
from policies.limits import Account, Kind

_TENANT = UUID(int=1)
_LIMIT = 60_000
_PROCESSES = 4
_CLIENTS = 16  # in each process
_SECONDS = 100.0  # the first minute's tokens have left by then, and more came after them
_LARGEST = 500
_NEVER_SETTLED = 0.02
_FAILED = 0.05


@dataclass(frozen=True, slots=True)
class Grant:
    """A job that was let in: when, what was set aside for it, what it used, how long the answer took."""

    at: float
    reserved: int
    used: int
    took_ms: float


async def _no_bases(wanted: Sequence[Account]) -> Mapping[str, int]:
    return dict.fromkeys((account.name for account in wanted), 0)


async def _client(ledger: Accounts, name: str, owner: str, until: float, rng: random.Random) -> list[Grant]:
    grants: list[Grant] = []
    number = 0
    while time.time() < until:
        number += 1
        reserved = rng.randint(20, _LARGEST)
        wanted = [Account(Kind.TOKENS, owner, _LIMIT, reserved, _TENANT)]
        asked = time.perf_counter()
        taken = await ledger.take(f"{name}-{number}", wanted)
        took_ms = (time.perf_counter() - asked) * 1000
        if not taken.granted:
            await asyncio.sleep(min(taken.wait_s, rng.uniform(0.1, 0.4)))
            continue
        at = time.time()
        failed = rng.random() < _FAILED
        used = 0 if failed else rng.randint(reserved // 4, reserved)
        grants.append(Grant(at, reserved, used, took_ms))
        await asyncio.sleep(rng.uniform(0.01, 0.2))
        if rng.random() >= _NEVER_SETTLED:
            await ledger.settle(f"{name}-{number}", wanted, [used])
            await ledger.settle(f"{name}-{number}", wanted, [used])  # a second time, as after a lost answer
    return grants


def _process(url: str, number: int, owner: str, until: float) -> list[Grant]:
    async def clients() -> list[Grant]:
        redis = open_redis(url, 1.0)
        ledger = Accounts(redis, _no_bases)
        told = await asyncio.gather(
            *(
                _client(ledger, f"{number}-{each}", owner, until, random.Random(f"{number}-{each}"))
                for each in range(_CLIENTS)
            )
        )
        await redis.aclose()
        return [grant for grants in told for grant in grants]

    return asyncio.run(clients())


def fullest(grants: Sequence[Grant], window_s: float = 60.0) -> int:
    """Return the most tokens that were used by jobs let in within any `window_s` seconds."""
    ordered = sorted(grants, key=lambda grant: grant.at)
    most = held = first = 0
    for grant in ordered:
        held += grant.used
        while ordered[first].at <= grant.at - window_s:
            held -= ordered[first].used
            first += 1
        most = max(most, held)
    return most


def measure(world: World) -> list[Figure]:
    """Let the clients ask for as much as they get for 100 s, then look at every minute."""
    clients = _PROCESSES * _CLIENTS
    world.say(f"{clients} clients for {_SECONDS:.0f} s against {_LIMIT:,} tokens a minute")
    until = time.time() + _SECONDS
    owner = f"key:bench-{random.getrandbits(64):x}"
    # Spawned: a fork would share the parent's connections.
    with ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn")) as pool:
        told = [pool.submit(_process, world.redis.url, number, owner, until) for number in range(_PROCESSES)]
        grants = [grant for process in told for grant in process.result()]
    most = fullest(grants)
    largest = max((grant.reserved for grant in grants), default=0)
    note = (
        f"{clients} clients in {_PROCESSES} processes, {len(grants):,} jobs of up to {_LARGEST} tokens; 5 % fail, "
        "the others use a quarter to all of what was set aside; every settlement comes twice, 2 % never. "
        f"Limit {_LIMIT:,}, largest reservation {largest}"
    )
    return [
        Figure(
            "limits",
            "tokens over the limit in the fullest 60 s",
            max(0, most - _LIMIT),
            "tokens",
            Must("≤", largest),
            note=note,
        ),
        Figure("limits", "share of the limit used in the fullest 60 s", 100 * most / _LIMIT, "%"),
        Figure("limits", "setting tokens aside, p50", percentile([grant.took_ms for grant in grants], 0.5), "ms"),
    ]
