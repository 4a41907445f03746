"""Weights and limits of tenants as the command line sets them."""

from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.secrets import SecretBox, new_secret_key
from core.store.keys import create_key, hash_key
from core.store.tenants import list_tenants, set_tenant
from policies.limits import Limits


async def test_a_tenants_limits_are_set_lifted_and_told_with_the_keys_to_look_up_anew(owner: AsyncEngine) -> None:
    made = await create_key(owner, SecretBox.from_setting(new_secret_key()), "acme")
    changes = {"weight": 3, "tokens_per_minute": 5000, "budget_day_usd": Decimal("0.25")}
    assert await set_tenant(owner, "acme", changes) == [hash_key(made.key)]
    [tenant] = await list_tenants(owner)
    assert (tenant.weight, tenant.limits) == (Decimal(3), Limits(None, 5000, budget_day_usd=Decimal("0.25")))
    await set_tenant(owner, "acme", {"tokens_per_minute": None})
    [tenant] = await list_tenants(owner)
    assert (tenant.weight, tenant.limits) == (Decimal(3), Limits(budget_day_usd=Decimal("0.25")))


async def test_nothing_else_of_a_tenant_can_be_set(owner: AsyncEngine) -> None:
    assert await set_tenant(owner, "nobody", {"weight": 2}) is None
    for changes in ({}, {"name": "other"}):
        with pytest.raises(ValueError, match="choose from"):
            await set_tenant(owner, "acme", changes)
