"""Accounts in Redis, and in this process while Redis is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from policies.limits import BASE_AGE_S, BASED, WINDOW_S, Account, LocalAccounts, Taken, shared

_ANSWER_S: Final = 0.25
_AWAY_S: Final = 2.0
_COOLS: Final = 10  # reading bases may take a tenth of a connection's time, however often a client knocks
_MOST_COOLING: Final = 10_000

_log = structlog.get_logger(__name__)

#: What Postgres says of accounts, by their names.
ReadBases = Callable[[Sequence[Account]], Awaitable[Mapping[str, int]]]


def _script(name: str) -> str:
    return files("core.limits").joinpath(name).read_text(encoding="utf-8")


class Accounts:
    """Takes amounts and settles them.

    Args:
        redis: a client with bounded waits.
        read_bases: asks Postgres what is queued, running and spent.
        processes: how many processes share the limits while Redis is away.
    """

    def __init__(self, redis: "Redis", read_bases: ReadBases, processes: Callable[[], int] = lambda: 1) -> None:
        self._redis = redis
        self._take: Any = redis.register_script(_script("take.lua"))
        self._settle: Any = redis.register_script(_script("settle.lua"))
        self._read_bases = read_bases
        self._processes = processes
        self._local = LocalAccounts()
        self._away_until = 0.0
        self._cooling: dict[str, float] = {}

    async def take(self, wish: str, wanted: Sequence[Account]) -> Taken:
        """Take all amounts or none; a `wish` that is held already is not taken twice.

        Raises:
            What the driver raises when Postgres has to be asked and cannot be reached.
        """
        bases: dict[str, tuple[int, int]] = {}
        while True:
            taken = await self._once(wish, wanted, bases)
            doubt = taken.stale or taken.refused
            # A refusal by an old base is looked into, once: what counted may have ended since.
            if doubt is None or doubt.kind not in BASED or doubt.name in bases:
                return taken
            if taken.stale is None and self._cooling.get(doubt.name, 0.0) > time.monotonic():
                return taken
            bases |= await self._bases(wanted, taken.at)

    async def take_many(self, wishes: Sequence[tuple[str, Sequence[Account]]]) -> list[Taken]:
        """Take for many wishes, in their order: what needs no look into Postgres in one exchange with Redis.

        Raises:
            What `take` raises.
        """
        if len(wishes) < 2 or self._away():
            return [await self.take(wish, wanted) for wish, wanted in wishes]
        try:
            async with asyncio.timeout(_ANSWER_S):
                pipeline = self._redis.pipeline(transaction=False)
                for wish, wanted in wishes:
                    await self._take(keys=_keys(wanted), args=_taking(wish, wanted, {}), client=pipeline)
                replies = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return [await self.take(wish, wanted) for wish, wanted in wishes]
        taken = [_taken(wanted, reply) for (_, wanted), reply in zip(wishes, replies, strict=True)]
        for number, (wish, wanted) in enumerate(wishes):
            doubt = taken[number].stale or taken[number].refused
            if doubt is not None and doubt.kind in BASED:
                taken[number] = await self.take(wish, wanted)
        return taken

    async def settle(self, wish: str, wanted: Sequence[Account], truths: Sequence[int]) -> None:
        """Put the truth in the place of what was taken. Settling twice changes nothing; a lost settlement leaves by itself."""
        await self.settle_many([(wish, wanted, truths)])

    async def settle_many(self, settlements: Sequence[tuple[str, Sequence[Account], Sequence[int]]]) -> None:
        """Settle many reservations in one exchange with Redis."""
        due = [settlement for settlement in settlements if settlement[1]]
        if due and not self._away():
            try:
                async with asyncio.timeout(_ANSWER_S):
                    # A pipeline asks for the script first: that is one exchange more.
                    pipeline = self._redis.pipeline(transaction=False) if len(due) > 1 else None
                    for wish, wanted, truths in due:
                        await self._settle(keys=_keys(wanted), args=_settling(wish, wanted, truths), client=pipeline)
                    if pipeline is not None:
                        await pipeline.execute()
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
            else:
                return
        for wish, wanted, truths in due:
            self._local.settle(wish, wanted, truths, _now())

    async def _once(self, wish: str, wanted: Sequence[Account], bases: dict[str, tuple[int, int]]) -> Taken:
        if not self._away():
            try:
                async with asyncio.timeout(_ANSWER_S):
                    return _taken(wanted, await self._take(keys=_keys(wanted), args=_taking(wish, wanted, bases)))
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
                bases.clear()  # they carry the time of another clock, and have to be read again for this one
        return self._local.take(wish, shared(wanted, self._processes()), _now(), bases)

    async def _bases(self, wanted: Sequence[Account], at: int) -> dict[str, tuple[int, int]]:
        based = [account for account in wanted if account.kind in BASED]
        began = time.monotonic()
        read = await self._read_bases(based)
        ended = time.monotonic()
        if len(self._cooling) > _MOST_COOLING:
            self._cooling.clear()
        for account in based:
            self._cooling[account.name] = ended + _COOLS * (ended - began)
        return {account.name: (read.get(account.name, 0), at) for account in based}

    def _away(self) -> bool:
        if not self._away_until:
            return False
        if time.monotonic() < self._away_until:
            return True
        self._away_until = 0.0
        self._local.forget()
        return False

    def _lost(self, error: BaseException) -> None:
        if not self._away_until:
            _log.warning("limits_local", error=type(error).__name__)
        self._away_until = time.monotonic() + _AWAY_S


def _keys(wanted: Sequence[Account]) -> list[str]:
    return [f"coatcheck:limit:{account.name}" for account in wanted]


def _taking(wish: str, wanted: Sequence[Account], bases: Mapping[str, tuple[int, int]]) -> list[Any]:
    arguments: list[Any] = [wish, round(BASE_AGE_S * 1000)]
    for account in wanted:
        base, at = bases.get(account.name, ("", ""))
        arguments += [account.limit, account.amount, round(account.stays_s * 1000), account.mode, base, at]
    return arguments


def _settling(wish: str, wanted: Sequence[Account], truths: Sequence[int]) -> list[Any]:
    arguments: list[Any] = [wish]
    for account, truth in zip(wanted, truths, strict=True):
        stays_s = WINDOW_S if account.mode == "window" else account.stays_s
        arguments += [truth, account.amount, account.mode, round(stays_s * 1000)]
    return arguments


def _taken(wanted: Sequence[Account], reply: Sequence[Any]) -> Taken:
    state, at, place, wait_ms, *used = (int(each) for each in reply)
    if state == 2:
        return Taken(granted=False, stale=wanted[place - 1], at=at)
    refused = wanted[place - 1] if place else None
    return Taken(granted=state == 1, used=tuple(used), refused=refused, wait_s=wait_ms / 1000, at=at)


def _now() -> int:
    return time.monotonic_ns() // 1000
