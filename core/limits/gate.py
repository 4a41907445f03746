"""What the workers ask before they start claimed jobs, and tell when jobs have ended."""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from core.limits.accounts import Accounts
from core.store.failures import DATABASE_ERRORS
from policies.costs import nano_usd
from policies.limits import MONEY, RUNS_S, Account, Kind, Owners, accounts, renews_in_s

_KNOWN_S: Final = 10.0
_MOST_KEYS: Final = 10_000
_PACE_S: Final = 60.0  # held-back jobs are spread over at most this long: whoever frees room is found again within it
_BUDGET_S: Final = 300.0
_RUN_S: Final = 2.0
_PAUSE_S: Final = 1.0
_AGAIN_S: Final = RUNS_S / 4
_LEAST_S: Final = 0.1
_BATCH_S: Final = 28 * 3600.0  # as long as a batch's jobs may be away at an upstream
_MOST_FIRST_S: Final = 10.0  # the window may hold estimates that are settled, and much smaller, any moment

Load = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Owners]]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A claimed job.

    `estimate` returns the tokens to set aside and the most it can cost; it is asked only where something is limited.
    """

    job: UUID
    key: UUID | None
    estimate: Callable[[], tuple[int, Decimal | None]]


@dataclass(frozen=True, slots=True)
class Batched:
    """A job in a batch: its key, and when it was claimed (an aware time), which decides the budgets' periods."""

    job: UUID
    key: UUID
    since: datetime


class Gate:
    """Holds back jobs whose key or tenant is at a limit.

    Args:
        accounts: where amounts are taken from.
        load: reads the limits behind keys.
        again_s: how often it is said that admitted jobs still run, in seconds.
    """

    def __init__(self, accounts: Accounts, load: Load, again_s: float = _AGAIN_S) -> None:
        self._accounts = accounts
        self._load = load
        self._known: OrderedDict[UUID, tuple[float, Owners | None]] = OrderedDict()
        self._held: dict[UUID, tuple[tuple[Account, ...], float]] = {}
        self._pace: dict[str, float] = {}
        self._run_s: dict[str, float] = {}
        self._settlements: list[tuple[str, tuple[Account, ...], tuple[int, ...]]] = []
        self._settling: asyncio.Task[None] | None = None
        self._again_s = again_s
        self._keeping: asyncio.Task[None] | None = None

    def unlimited(self, key: UUID | None) -> bool:
        """Whether jobs of this key need not ask: it is known, and lately, to have no limits. Costs nothing."""
        if key is None:
            return True
        known = self._known.get(key)
        return known is not None and known[1] is None and known[0] > time.monotonic()

    def holds(self, job: UUID) -> bool:
        """Whether amounts are set aside for a job."""
        return job in self._held

    async def admit(self, candidates: Sequence[Candidate]) -> dict[UUID, float]:
        """Return the jobs that have to wait, with the seconds after which they are to be looked at again.

        All others may start, and their amounts are set aside until `ended` is called for them.
        """
        keys = {candidate.key for candidate in candidates if candidate.key is not None}
        missing = self._unknown(keys)
        try:
            await self._learn(missing)
            limited = [(each, owners) for each in candidates if (owners := self._owners(each.key)) is not None]
            return await self._admit(limited) if limited else {}
        except DATABASE_ERRORS:
            # Without Postgres nothing ends well anyway; what is known to be free of limits may go on.
            return {each.job: _PAUSE_S for each in candidates if each.key in missing or self._owners(each.key)}

    async def admit_batched(
        self, batched: Sequence[Batched], cost: Callable[[UUID], Decimal | None]
    ) -> dict[UUID, float]:
        """Return the jobs that have to wait, as `admit` does, of those that are to go into a batch at an upstream.

        Money is set aside for the others, for as long as a batch may take and until `ended_batched` is called for them, in any
        process. Tokens a minute and jobs in flight limit calls: a batch is worked on when the upstream finds the time.

        Args:
            batched: the jobs; those for which something is set aside already may be among them.
            cost: returns the most that a job can cost; called on a thread, and only where money is limited.

        Raises:
            What the driver raises when Postgres cannot be reached.
        """
        await self._learn(self._unknown({each.key for each in batched}))
        limited = [each for each in batched if self._budgets(each)]
        if not limited:
            return {}
        amounts = await asyncio.to_thread(lambda: [nano_usd(cost(each.job)) for each in limited])
        wishes = [(each.job.hex, self._budgets(each, amount)) for each, amount in zip(limited, amounts, strict=True)]
        taken = await self._accounts.take_many(wishes)
        now, today = time.monotonic(), datetime.now(UTC)
        return {
            each.job: _PAUSE_S if outcome.refused is None else self._wait_s(outcome.refused, outcome.wait_s, now, today)
            for each, outcome in zip(limited, taken, strict=True)
            if not outcome.granted
        }

    async def ended_batched(self, ended: Sequence[tuple[Batched, Decimal | None]]) -> None:
        """Say what jobs of batches really cost, once that is stored; nothing for those that failed or went back.

        Raises:
            What the driver raises when Postgres cannot be reached.
        """
        await self._learn(self._unknown({each.key for each, _ in ended}))
        settlements = []
        for each, cost in ended:
            if wanted := self._budgets(each):
                settlements.append((each.job.hex, wanted, (nano_usd(cost),) * len(wanted)))
        await self._accounts.settle_many(settlements)

    def ended(self, job: UUID, *, tokens: int = 0, cost: Decimal | None = None) -> None:
        """Say that an attempt ended and what it really used; 0 after a failure, a hand-back or a cache hit. Does not wait."""
        held = self._held.pop(job, None)
        if held is None:
            return
        wanted, began = held
        truths = tuple(tokens if a.kind is Kind.TOKENS else nano_usd(cost) if a.kind in MONEY else 0 for a in wanted)
        took = time.monotonic() - began
        for account in wanted:
            if account.kind is Kind.RUNNING:
                self._run_s[account.owner] = 0.8 * self._run_s.get(account.owner, _RUN_S) + 0.2 * took
        self._settlements.append((job.hex, wanted, truths))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle(), name="settle-limits")

    async def aclose(self) -> None:
        """Wait until everything is settled."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        while self._settling is not None and not self._settling.done():
            with suppress(asyncio.CancelledError):
                await self._settling

    async def _settle(self) -> None:
        while self._settlements:
            due, self._settlements = self._settlements, []
            await self._accounts.settle_many(due)

    async def _keep(self) -> None:
        """Say again and again which jobs run, as long as any does: what nobody speaks of leaves."""
        while running := self._running():
            await asyncio.sleep(self._again_s)
            running = self._running()
            await self._accounts.take_many([(job.hex, wanted) for job, wanted in running])
            # Who ended meanwhile may have been taken anew.
            ended = [(job.hex, wanted, (0,) * len(wanted)) for job, wanted in running if job not in self._held]
            await self._accounts.settle_many(ended)

    def _running(self) -> list[tuple[UUID, tuple[Account, ...]]]:
        held = (
            (job, tuple(each for each in wanted if each.kind is Kind.RUNNING))
            for job, (wanted, _) in self._held.items()
        )
        return [(job, wanted) for job, wanted in held if wanted]

    def _owners(self, key: UUID | None) -> Owners | None:
        return None if key is None else self._known.get(key, (0.0, None))[1]

    def _unknown(self, keys: Collection[UUID]) -> list[UUID]:
        now = time.monotonic()
        return [key for key in keys if self._known.get(key, (0.0, None))[0] <= now]

    def _budgets(self, each: Batched, amount: int = 0) -> tuple[Account, ...]:
        owners = self._owners(each.key)
        return () if owners is None else accounts(owners, dict.fromkeys(MONEY, amount), each.since, _BATCH_S)

    async def _learn(self, keys: Sequence[UUID]) -> None:
        if not keys:
            return
        now = time.monotonic()
        found = await self._load(keys)
        for key in keys:
            owners = found.get(key)
            self._known[key] = (now + _KNOWN_S, owners if owners is not None and owners.on_jobs else None)
            self._known.move_to_end(key)
        while len(self._known) > _MOST_KEYS:
            self._known.popitem(last=False)

    async def _admit(self, limited: Sequence[tuple[Candidate, Owners]]) -> dict[UUID, float]:
        waits: dict[UUID, float] = {}
        today = datetime.now(UTC)
        wishes: list[tuple[str, tuple[Account, ...]]] = []
        for each, owners in limited:
            tokens, cost = each.estimate()
            money = nano_usd(cost)
            wanted = {Kind.RUNNING: 1, Kind.TOKENS: tokens, Kind.DAY: money, Kind.MONTH: money}
            wishes.append((each.job.hex, accounts(owners, wanted, today)))
        taken = await self._accounts.take_many(wishes)
        now = time.monotonic()
        for (each, _), (_, wanted_accounts), outcome in zip(limited, wishes, taken, strict=True):
            if outcome.granted:
                self._held[each.job] = (wanted_accounts, now)
            elif outcome.refused is not None:
                waits[each.job] = self._wait_s(outcome.refused, outcome.wait_s, now, today)
            else:
                waits[each.job] = _PAUSE_S
        if (self._keeping is None or self._keeping.done()) and self._running():
            self._keeping = asyncio.create_task(self._keep(), name="keep-running")
        return waits

    def _wait_s(self, account: Account, wait_s: float, now: float, today: datetime) -> float:
        """Spread what waits for one account over the time in which it will have room, so that claims are not spent on it."""
        if account.kind in MONEY:
            return min(renews_in_s(account.kind, today), _BUDGET_S) * random.uniform(0.8, 1.0)
        if account.kind is Kind.TOKENS:
            each_s = 60.0 * account.amount / account.limit
        else:
            each_s = self._run_s.get(account.owner, _RUN_S) / account.limit
        if len(self._pace) > _MOST_KEYS:
            self._pace.clear()
        # Never at once: whoever was just refused would only be refused again.
        turn = max(
            self._pace.get(account.name, 0.0), now + max(min(wait_s, _MOST_FIRST_S), min(each_s, _RUN_S), _LEAST_S)
        )
        self._pace[account.name] = min(turn + each_s, now + _PACE_S)
        return turn - now
