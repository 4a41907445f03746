"""Weights between tenants: the queue's own arithmetic is the policy's, and shares follow it."""

from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import ids
from core.store.bulk import accept_group
from core.store.tenants import set_tenant
from policies.fairness import FairLane, reweighed
from tests.support.store import Store, new_job

_FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
weights = st.decimals("0.2", "5", places=2)


async def _empty(store: Store) -> None:
    await store.sql(
        "TRUNCATE jobs, attempts, job_events, ready, waiting, held_back, running, tenant_turns, groups, usage_days"
    )
    await store.sql("UPDATE lane_clocks SET virtual_time = 0")


async def _tags(store: Store, tenant: UUID) -> list[float]:
    rows = await store.rows("SELECT tag FROM ready WHERE tenant_id = :tenant ORDER BY job_id", tenant=tenant)
    return [row.tag for row in rows]


async def _many(store: Store, tenant: UUID, jobs: int) -> None:
    group = ids.new_id()
    await accept_group(store.api, tenant, group, [new_job(tenant, group_id=group) for _ in range(jobs)])


@_FEW
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=12),
    weights=st.lists(weights, min_size=3, max_size=3),
    keyed=st.booleans(),
)
async def test_the_queue_gives_the_tags_that_the_policy_gives(
    store: Store, steps: list[tuple[int, int, int]], weights: list[Decimal], keyed: bool
) -> None:
    """Also when row-level security stands between the API and the weights, and when jobs enter by way of a concurrency key."""
    await _empty(store)
    tenants = [await store.tenant(weight=float(weight)) for weight in weights]
    model = FairLane()
    expected: dict[UUID, list[float]] = {tenant: [] for tenant in tenants}
    more: dict[str, Any] = {"concurrency_key": str(ids.new_id()), "concurrency_limit": 10_000} if keyed else {}
    worker = await store.process()
    for who, jobs, claims in steps:
        await store.accept(*(new_job(tenants[who], **more) for _ in range(jobs)))
        expected[tenants[who]] += model.enter(tenants[who], jobs, float(weights[who]))
        rows = await worker.claim(claims) if claims else []
        for row in rows:
            tag = expected[row.tenant_id].pop(0)
            model.serve(tag)
        for tenant in tenants:
            assert await _tags(store, tenant) == pytest.approx(expected[tenant])


@_FEW
@given(weights=st.lists(weights, min_size=2, max_size=4), batch=st.integers(1, 32))
async def test_with_a_backlog_claims_are_shared_by_weight(store: Store, weights: list[Decimal], batch: int) -> None:
    await _empty(store)
    tenants = [await store.tenant(weight=float(weight)) for weight in weights]
    jobs = 400
    for tenant in tenants:
        await _many(store, tenant, jobs)
    worker = await store.process()
    served: Counter[UUID] = Counter()
    total = sum(weights)
    # As long as the heaviest still has jobs, all have.
    while max(served.values(), default=0) + batch < jobs:
        served.update(row.tenant_id for row in await worker.claim(batch))
    for tenant, weight in zip(tenants, weights, strict=True):
        fair = served.total() * float(weight / total)
        assert abs(served[tenant] - fair) <= 0.1 * fair + 1


async def test_a_new_weight_moves_the_turns_of_jobs_that_wait(store: Store) -> None:
    heavy, other = await store.tenant("heavy"), await store.tenant("other")
    await _many(store, heavy, 60)
    await _many(store, other, 60)
    worker = await store.process()
    await worker.claim(20)
    now = float(await store.value("SELECT virtual_time FROM lane_clocks WHERE lane = 'default'"))
    before = await _tags(store, heavy)
    assert await set_tenant(store.owner, "heavy", {"weight": Decimal(4)}) is not None
    assert await _tags(store, heavy) == pytest.approx([reweighed(tag, now, 1, 4) for tag in before])
    served = Counter(row.tenant_id for row in await worker.claim(50))
    assert served[heavy] == pytest.approx(40, abs=2)
    await store.accept(*(new_job(heavy) for _ in range(4)))
    last = await _tags(store, heavy)
    assert last[-1] - last[-2] == pytest.approx(0.25)


async def test_limits_change_one_by_one_and_none_takes_one_away(store: Store) -> None:
    tenant = await store.tenant("shop")
    await set_tenant(store.owner, "shop", {"max_queued": 10, "budget_day_usd": Decimal("2.50")})
    await set_tenant(store.owner, "shop", {"max_queued": None, "weight": Decimal("0.5")})
    [row] = await store.rows("SELECT * FROM tenants WHERE id = :id", id=tenant)
    assert (row.max_queued, row.budget_day_usd, row.weight) == (None, Decimal("2.50"), Decimal("0.5"))
    assert await set_tenant(store.owner, "nobody", {"max_queued": 1}) is None


@pytest.mark.parametrize("weight", ["0", "-1", "0.0001", "1001", "NaN", "Infinity"])
async def test_a_weight_out_of_range_is_refused(store: Store, weight: str) -> None:
    await store.tenant("shop")
    with pytest.raises(ValueError, match="weight"):
        await set_tenant(store.owner, "shop", {"weight": Decimal(weight)})


@pytest.mark.parametrize("changes", [{}, {"max_fun": 3}])
async def test_what_cannot_be_changed_is_refused(store: Store, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_in_flight"):
        await set_tenant(store.owner, "shop", changes)
