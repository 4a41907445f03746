"""Limits on submitted jobs: room is taken before the commit that accepts them, and given back when it fails.

Over a limit: a job in the lane `interactive` is refused while its key or tenant has no tokens left in this minute, too many jobs
in flight or queued, or a spent budget. In other lanes a submission is refused for the queue and for the budget only; tokens and
jobs in flight hold back accepted jobs in the workers (`core.limits.gate`).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

from api.edge.head import Head
from api.problems import Problem
from api.rate import NO_LIMITS
from core.limits import Accounts, expected
from core.store.accept import NewJob
from core.store.keys import ApiKey
from policies.catalog import Catalog
from policies.costs import nano_usd
from policies.limits import MONEY, Account, Kind, Taken, accounts, renews_in_s

INTERACTIVE: Final = "interactive"
_AGAIN_S: Final = 1.0


class Place:
    """Room for jobs that are being accepted: leave it with `keep` called, or all of it is given back."""

    def __init__(self, ledger: Accounts, key: ApiKey, head: Head, wish: str, wanted: Mapping[Kind, int]) -> None:
        self._ledger = ledger
        self._head = head
        self._wish = wish
        self._accounts = accounts(key.owners, wanted, datetime.now(UTC))
        self._kept = False

    def keep(self) -> None:
        """The jobs were stored."""
        self._kept = True

    async def __aenter__(self) -> Self:
        """Take the room.

        Raises:
            Problem: 429 when there is none.
        """
        if self._accounts:
            taken = await self._ledger.take(self._wish, self._accounts)
            _tell(self._head, self._accounts, taken)
            if not taken.granted:
                raise _refusal(taken.refused or self._accounts[0], taken)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # From here on Postgres counts what was stored. What running it takes stays set aside until the worker tells the truth.
        ended = [a for a in self._accounts if not self._kept or a.kind in {Kind.QUEUED, Kind.OPEN} or not a.amount]
        await self._ledger.settle(self._wish, ended, [a.amount if self._kept else 0 for a in ended])


class Unlimited:
    """Room where nothing is limited."""

    def keep(self) -> None:
        """The jobs were stored."""


_UNLIMITED: Final = nullcontext(Unlimited())


def place(
    ledger: Accounts, catalog: Catalog, key: ApiKey, head: Head, job: NewJob, body: Mapping[str, Any]
) -> AbstractAsyncContextManager[Place | Unlimited]:
    """Return the room that one job needs, to be entered around its commit. Its reservation has the job's id.

    Args:
        ledger: the accounts.
        catalog: knows what the job may cost.
        key: who submits.
        head: gets the headers that tell of the limits.
        job: what is to be stored.
        body: its parsed body.
    """
    if not key.owners.on_jobs:
        return _UNLIMITED
    if job.lane != INTERACTIVE:
        return Place(ledger, key, head, job.id.hex, {Kind.QUEUED: 1, Kind.DAY: 0, Kind.MONTH: 0})
    tokens, cost = expected(catalog, job.route_model or job.model, job.endpoint, body)
    money = nano_usd(cost)
    wanted = {Kind.TOKENS: tokens, Kind.OPEN: 1, Kind.QUEUED: 1, Kind.DAY: money, Kind.MONTH: money}
    return Place(ledger, key, head, job.id.hex, wanted)


def places(
    ledger: Accounts, key: ApiKey, head: Head, group: str, jobs: Sequence[NewJob]
) -> AbstractAsyncContextManager[Place | Unlimited]:
    """Return the room that many jobs need, all or none. What they use is taken when the workers start them."""
    if not key.owners.on_jobs:
        return _UNLIMITED
    wanted = {Kind.QUEUED: len(jobs), Kind.DAY: 0, Kind.MONTH: 0}
    now = sum(job.lane == INTERACTIVE for job in jobs)
    if now:
        wanted[Kind.OPEN] = now
    return Place(ledger, key, head, group, wanted)


def _tell(head: Head, wanted: Sequence[Account], taken: Taken) -> None:
    """Put the tighter of the limits of tokens into the answer's headers."""
    told = dict(NO_LIMITS) | dict(head.tags)
    limited = [
        (account, used) for account, used in zip(wanted, taken.used, strict=False) if account.kind is Kind.TOKENS
    ]
    if limited:
        account, used = min(limited, key=lambda each: each[0].limit - each[1])
        # A window is full again once what was taken just now has left it.
        reset_s = account.stays_s if taken.granted else taken.wait_s
        told |= {
            b"x-ratelimit-limit-tokens": b"%d" % account.limit,
            b"x-ratelimit-remaining-tokens": b"%d" % max(0, account.limit - used),
            b"x-ratelimit-reset-tokens": b"%.3fs" % reset_s,
        }
    head.tags[:] = told.items()


def _refusal(account: Account, taken: Taken) -> Problem:
    who = "This key" if account.owner.startswith("key:") else "This tenant"
    if account.kind in MONEY:
        period = "day" if account.kind is Kind.DAY else "month"
        left_s = renews_in_s(account.kind, datetime.now(UTC))
        detail = f"{who} may spend {_usd(account.limit)} USD a {period} (UTC), and that is spent or set aside."
        return Problem("budget_spent", detail, retry_after_s=left_s)
    if account.kind is Kind.TOKENS:
        detail = f"{who} may use {account.limit} tokens a minute; this request may take {account.amount}."
        return Problem("rate_limited", detail, retry_after_s=taken.wait_s or _AGAIN_S)
    what = "queued" if account.kind is Kind.QUEUED else "in flight"
    jobs = "1 job" if account.limit == 1 else f"{account.limit} jobs"
    return Problem("too_many_jobs", f"{who} may have {jobs} {what}.", retry_after_s=_AGAIN_S)


def _usd(nano: int) -> str:
    return f"{Decimal(nano).scaleb(-9).normalize():f}"
