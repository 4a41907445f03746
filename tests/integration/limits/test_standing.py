"""What limits start from: Postgres counts and sums for one tenant and one key, and for nobody else."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.secrets import SecretBox, new_secret_key
from core.store.keys import authenticate, create_key
from core.store.standing import read_bases, read_limits
from policies.limits import Account, Kind, Limits, Owners, accounts
from tests.support.store import Store, new_job

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALL = Limits(None, 10, 10, 10, Decimal(1), Decimal(1))


def wanted(tenant: UUID, key: UUID) -> tuple[Account, ...]:
    kinds = {Kind.OPEN: 1, Kind.QUEUED: 1, Kind.DAY: 1, Kind.MONTH: 1}
    return accounts(Owners(tenant, key, ALL, ALL), kinds, NOW)


async def bases(engine: AsyncEngine, tenant: UUID, key: UUID) -> dict[str, int]:
    told = await read_bases(engine, wanted(tenant, key), NOW)
    return {name.replace(key.hex, "").replace(tenant.hex, ""): value for name, value in told.items()}


async def test_jobs_are_counted_by_key_and_tenant_wherever_they_stand(store: Store) -> None:
    tenant, other, key, second = uuid4(), uuid4(), uuid4(), uuid4()
    await store.accept(
        new_job(tenant, key_id=key),
        new_job(tenant, key_id=key, lane="interactive", model="sim/other"),
        new_job(tenant, key_id=second, lane="interactive"),
        new_job(
            tenant, key_id=second, run_at=datetime(2036, 1, 1, tzinfo=UTC), expires_at=datetime(2036, 1, 2, tzinfo=UTC)
        ),
        new_job(other, key_id=key),
    )
    worker = await store.process()
    await worker.claim(1, lane="bulk")
    told = await bases(store.api, tenant, key)
    assert (told["queued:key:"], told["queued:tenant:"]) == (2, 4)
    assert (told["open:key:"], told["open:tenant:"]) == (1, 2)
    await worker.claim(10, lane="default", models={"sim/fast": 10})
    told = await bases(store.api, tenant, key)
    assert (told["queued:key:"], told["open:key:"]) == (1, 2)
    assert told == await bases(store.worker, tenant, key)


async def test_money_is_summed_by_day_and_month(store: Store) -> None:
    tenant, key, second = uuid4(), uuid4(), uuid4()
    spent = [(tenant, "2026-11-20", key, "0.25"), (tenant, "2026-11-20", second, "1"), (tenant, "2026-11-01", key, "2"),
             (tenant, "2026-10-31", key, "64"), (uuid4(), "2026-11-20", key, "128")]  # fmt: skip
    for number, (owner, day, whose, usd) in enumerate(spent):
        await store.sql(
            "INSERT INTO usage_days (tenant_id, day, key_id, model, endpoint, lane, slot, cost_usd) "
            "VALUES (:owner, cast(:day AS text)::date, :whose, 'm', 'e', 'bulk', :number, cast(:usd AS text)::numeric)",
            owner=owner, day=day, whose=whose, number=number, usd=usd,
        )  # fmt: skip
    told = await bases(store.api, tenant, key)
    money = {name: value for name, value in told.items() if name.startswith(("day", "month"))}
    assert money == {
        "day:key::2026-11-20": 250_000_000,
        "day:tenant::2026-11-20": 1_250_000_000,
        "month:key::2026-11": 2_250_000_000,
        "month:tenant::2026-11": 3_250_000_000,
    }


async def test_a_key_brings_its_limits_and_its_tenants(store: Store, owner: AsyncEngine) -> None:
    box = SecretBox.from_setting(new_secret_key())
    limits = Limits(None, 1000, 4, 50, Decimal("1.5"), Decimal(20))
    made = await create_key(owner, box, "acme", ("jobs:write",), 60, limits)
    await store.sql("UPDATE tenants SET tokens_per_minute = 5000, requests_per_minute = 7")
    key = await authenticate(store.api, made.key)
    assert key is not None and key.requests_per_minute == 60
    assert key.limits == Limits(60, 1000, 4, 50, Decimal("1.5"), Decimal(20))
    assert key.tenant_limits == Limits(7, 5000)
    known = await read_limits(store.worker, [made.id, uuid4()])
    expected = Owners(
        key.tenant_id, made.id, Limits(None, 1000, 4, None, Decimal("1.5"), Decimal(20)), Limits(None, 5000)
    )
    assert known == {made.id: expected}


@pytest.mark.parametrize("limits", [Limits(None, -1), Limits(None, None, 0), Limits(budget_day_usd=Decimal(-1))])
async def test_the_database_refuses_impossible_limits(owner: AsyncEngine, limits: Limits) -> None:
    with pytest.raises(Exception, match="check"):
        await create_key(owner, SecretBox.from_setting(new_secret_key()), "acme", limits=limits)
