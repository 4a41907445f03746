"""What a key and its tenant may use, and the accounts that hold them to it. Pure; `core.limits` keeps the accounts in Redis.

An account counts amounts that were taken and have not left it:

    tokens    a sliding minute: what was taken leaves 61 seconds later, settled or not
    running   jobs that run: taken at the start, said again while they do, given back at the end
    open      jobs of the lane `interactive` that wait or run, and jobs of other lanes that run
    queued    jobs accepted and not started
    day       billionths of a USD spent on this UTC day
    month     … in this UTC month

Postgres knows what is queued, running and spent: such an account adds what was taken since Postgres was last asked, so it is
never too low. The unit is a whole number everywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from policies.costs import nano_usd

WINDOW_S: Final = 61.0  # a minute, and what clocks and the way of an answer may be off
BASE_AGE_S: Final = 10.0
_LOST_S: Final = 2 * 3600.0  # a job's longest attempt takes one hour
RUNS_S: Final = 90.0  # whoever runs a job says so much more often; what a dead worker held is free again soon


class Kind(StrEnum):
    """What an account counts."""

    TOKENS = "tokens"
    RUNNING = "running"
    OPEN = "open"
    QUEUED = "queued"
    DAY = "day"
    MONTH = "month"


BASED: Final = frozenset({Kind.OPEN, Kind.QUEUED, Kind.DAY, Kind.MONTH})
MONEY: Final = frozenset({Kind.DAY, Kind.MONTH})
# An acceptance takes milliseconds; one that never tells of its end leaves soon.
_STAYS_S: Final[Mapping[Kind, float]] = {
    Kind.TOKENS: WINDOW_S, Kind.RUNNING: RUNS_S, Kind.OPEN: 60.0, Kind.QUEUED: 60.0, Kind.DAY: _LOST_S, Kind.MONTH: _LOST_S,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key, or a tenant with all its keys, may use at most; None: as much as there is."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_in_flight: int | None = None
    max_queued: int | None = None
    budget_day_usd: Decimal | None = None
    budget_month_usd: Decimal | None = None

    @property
    def on_jobs(self) -> bool:
        """Whether anything but requests is limited."""
        own = (self.tokens_per_minute, self.max_in_flight, self.max_queued, self.budget_day_usd, self.budget_month_usd)
        return any(limit is not None for limit in own)


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose limits hold for a job: the key's that handed it in, and its tenant's."""

    tenant: UUID
    key: UUID
    of_key: Limits = NO_LIMITS
    of_tenant: Limits = NO_LIMITS

    @property
    def on_jobs(self) -> bool:
        """Whether anything but requests is limited."""
        return self.of_key.on_jobs or self.of_tenant.on_jobs


@dataclass(frozen=True, slots=True)
class Account:
    """One limit of one owner, and the amount that somebody wants of it.

    `owner` is `key:<hex>` or `tenant:<hex>`, `tenant` the tenant in both cases; `period` names the day or month of a budget.
    `held_s` is how long the amount may wait to be settled, in seconds, where that is not the usual time of its kind.
    """

    kind: Kind
    owner: str
    limit: int
    amount: int
    tenant: UUID
    period: str = ""
    held_s: float | None = None

    @property
    def name(self) -> str:
        """The account's name among all accounts."""
        return f"{self.kind}:{self.owner}{self.period and ':' + self.period}"

    @property
    def stays_s(self) -> float:
        """Seconds after which the amount leaves if it is never settled."""
        return _STAYS_S[self.kind] if self.held_s is None else self.held_s

    @property
    def mode(self) -> str:
        """How amounts leave: `window`, `based` or `plain`."""
        return "window" if self.kind is Kind.TOKENS else "based" if self.kind in BASED else "plain"


def period_of(kind: Kind, now: datetime) -> str:
    """The name of the budget's period that `now` (an aware time) falls into; empty for other accounts."""
    if kind is Kind.DAY:
        return f"{now.astimezone(UTC):%Y-%m-%d}"
    return f"{now.astimezone(UTC):%Y-%m}" if kind is Kind.MONTH else ""


def renews_in_s(kind: Kind, now: datetime) -> float:
    """Seconds until the budget's next period begins."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    following = today + timedelta(days=1)
    if kind is Kind.MONTH:
        following = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return (following - now).total_seconds()


def accounts(
    owners: Owners, wanted: Mapping[Kind, int], now: datetime, held_s: float | None = None
) -> tuple[Account, ...]:
    """Return the accounts that `wanted` amounts, by kind, have to be taken from; money is in billionths of a USD.

    `now` decides the budgets' periods, `held_s` how long the amounts may wait to be settled, if not for the usual time.
    """
    both = ((f"key:{owners.key.hex}", owners.of_key), (f"tenant:{owners.tenant.hex}", owners.of_tenant))
    return tuple(
        Account(kind, owner, limit, amount, owners.tenant, period_of(kind, now), held_s)
        for owner, limits in both
        for kind, amount in wanted.items()
        if (limit := _limit(limits, kind)) is not None
    )


def _limit(limits: Limits, kind: Kind) -> int | None:
    if kind is Kind.TOKENS:
        return limits.tokens_per_minute
    if kind is Kind.QUEUED:
        return limits.max_queued
    if kind in MONEY:
        budget = limits.budget_day_usd if kind is Kind.DAY else limits.budget_month_usd
        return None if budget is None else nano_usd(budget)
    return limits.max_in_flight


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a wish. `used` is parallel to the accounts; it holds the amount when it was granted.

    Attributes:
        granted: the amounts count from now on.
        refused: the first account without room.
        wait_s: seconds until that account has room, where it knows; else 0.
        stale: an account whose base has to be read first; nothing was decided.
        at: the accounts' clock, which a base that is read now has to be told with.
    """

    granted: bool
    used: tuple[int, ...] = ()
    refused: Account | None = None
    wait_s: float = 0.0
    stale: Account | None = None
    at: int = 0


@dataclass(slots=True)
class _State:
    base: int = 0
    base_at: int | None = None
    # id -> amount and when it leaves or, once settled on a based account, when it was settled; both in microseconds
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    settled: list[tuple[int, int]] = field(default_factory=list)

    def used(self) -> int:
        return self.base + sum(amount for amount, _ in self.open.values()) + sum(amount for amount, _ in self.settled)


class LocalAccounts:
    """The accounts of one process: what `take.lua` and `settle.lua` do, for the time in which Redis is away."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def take(self, wish: str, wanted: Sequence[Account], now: int, bases: Mapping[str, tuple[int, int]]) -> Taken:
        """Take all amounts or none.

        Args:
            wish: id of the reservation; one that is held already is not taken twice, but held for longer where it is `plain`.
            wanted: the accounts and amounts.
            now: microseconds of any clock that never goes back.
            bases: by account name, what Postgres told, and `Taken.at` of the answer that made somebody ask.
        """
        states = [self._current(account, now, bases.get(account.name)) for account in wanted]
        for account, state in zip(wanted, states, strict=True):
            if account.mode == "based" and (state.base_at is None or state.base_at < now - BASE_AGE_S * 1e6):
                return Taken(granted=False, stale=account, at=now)
        used = [state.used() for state in states]
        for account, state, before in zip(wanted, states, used, strict=True):
            alone = account.mode == "window" and before == 0
            if wish not in state.open and not alone and before + max(account.amount, 1) > account.limit:
                return Taken(False, tuple(used), account, _wait_s(account, state, before, now), at=now)
        for number, (account, state) in enumerate(zip(wanted, states, strict=True)):
            if wish not in state.open:
                state.open[wish] = (account.amount, now + int(account.stays_s * 1e6))
                used[number] += account.amount
            elif account.mode == "plain":
                state.open[wish] = (state.open[wish][0], now + int(account.stays_s * 1e6))
        return Taken(granted=True, used=tuple(used), at=now)

    def settle(self, wish: str, wanted: Sequence[Account], truths: Sequence[int], now: int) -> None:
        """Put the truth in the place of what was taken; a second settlement changes nothing."""
        for account, truth in zip(wanted, truths, strict=True):
            state = self._states.setdefault(account.name, _State())
            amount, leaves = state.open.pop(wish, (account.amount, 0))
            if leaves and truth > 0 and account.mode == "based":
                state.settled.append((truth, now))
            elif account.mode == "window":
                if leaves and truth > 0:
                    state.open[f"{wish}:{now}"] = (min(truth, amount), leaves)
                if truth > amount:
                    state.open.setdefault(f"{wish}:above", (truth - amount, now + int(WINDOW_S * 1e6)))

    def forget(self) -> None:
        """Drop all accounts: what counts is elsewhere again."""
        self._states.clear()

    def _current(self, account: Account, now: int, base: tuple[int, int] | None) -> _State:
        state = self._states.setdefault(account.name, _State())
        for wish in [wish for wish, (_, leaves) in state.open.items() if leaves <= now]:
            del state.open[wish]
        if base is not None and (state.base_at is None or base[1] > state.base_at):
            state.base, state.base_at = base
            state.settled = [(amount, at) for amount, at in state.settled if at > base[1]]
        return state


def _wait_s(account: Account, state: _State, used: int, now: int) -> float:
    excess, wait = used + account.amount - account.limit, 0.0
    if account.mode == "window":
        for amount, leaves in sorted(state.open.values(), key=lambda each: each[1]):
            wait, excess = (leaves - now) / 1e6, excess - amount
            if excess <= 0:
                break
    return wait


def shared(wanted: Iterable[Account], processes: int) -> tuple[Account, ...]:
    """Return the accounts with the share of each limit that one of so many processes may use by itself.

    What Postgres counts is the same for all of them, so only windows and running jobs are divided.
    """
    return tuple(
        account if account.mode == "based" else replace(account, limit=max(1, account.limit // max(1, processes)))
        for account in wanted
    )
