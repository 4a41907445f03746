"""What keys and tenants have queued, running and spent, as Postgres knows it: what their limits start from."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import tenant_list
from core.store.statements import fetch
from policies.costs import nano_usd
from policies.limits import MONEY, Account, Kind, Limits, Owners

_MOST: Final = 1_000_000
_COLUMN: Final[Mapping[Kind, str]] = {Kind.DAY: "day", Kind.MONTH: "month", Kind.QUEUED: "queued"}


async def read_bases(engine: AsyncEngine, wanted: Sequence[Account], now: datetime | None = None) -> dict[str, int]:
    """Return what Postgres says of accounts by their names; all of them of one tenant and at most one of its keys.

    Money is in billionths of a USD; `open` is what runs and what waits in the lane `interactive`.
    """
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    tenant_id = wanted[0].tenant
    keys = [UUID(account.owner[4:]) for account in wanted if account.owner.startswith("key:")]
    limits = [account.limit for account in wanted if account.kind not in MONEY]
    rows = await fetch(
        engine,
        "read_standing",
        {
            "tenants": tenant_list([tenant_id]),
            "tenant_id": tenant_id,
            "key_id": keys[0] if keys else None,
            "most": min(max(limits) + 1, _MOST) if limits else 0,
            "month_began": today.replace(day=1),
            "day": today,
        },
    )
    told = rows[0]
    return {account.name: _base(told, account, today.isoformat()) for account in wanted}


def _base(told: Mapping[str, object], account: Account, today: str) -> int:
    owner = account.owner.partition(":")[0]
    if account.kind in MONEY:
        # An account of yesterday, of a job that began before midnight: nobody asks it for room any more.
        if not today.startswith(account.period):
            return 0
        return nano_usd(told[f"{owner}_{_COLUMN[account.kind]}"])  # type: ignore[arg-type]
    if account.kind is Kind.QUEUED:
        return int(told[f"{owner}_queued"])  # type: ignore[call-overload,no-any-return]
    return int(told[f"{owner}_running"]) + int(told[f"{owner}_interactive"])  # type: ignore[call-overload,no-any-return]


async def read_limits(engine: AsyncEngine, keys: Sequence[UUID]) -> dict[UUID, Owners]:
    """Return the limits behind keys, for a worker; keys that are gone are missing."""
    rows = await fetch(engine, "limits_of_keys", {"keys": list(keys)})
    return {
        row.key_id: Owners(
            row.tenant_id,
            row.key_id,
            Limits(None, row.tokens_per_minute, row.max_in_flight, None, row.budget_day_usd, row.budget_month_usd),
            Limits(
                None,
                row.tenant_tokens_per_minute,
                row.tenant_max_in_flight,
                None,
                row.tenant_budget_day_usd,
                row.tenant_budget_month_usd,
            ),
        )
        for row in rows
    }
