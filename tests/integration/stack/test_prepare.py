import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.records import webhook_secret
from cli.stack.prepare import ensure_key
from cli.stack.state import OWN_TENANT
from core.secrets import SecretBox, new_secret_key
from core.store.keys import authenticate, rotate_tenant_secret


@pytest.fixture
def box(secret_key: str) -> SecretBox:
    return SecretBox.from_setting(secret_key)


async def test_a_known_key_stays_and_its_secret_is_the_one_in_force(owner: AsyncEngine, box: SecretBox) -> None:
    first = await ensure_key(owner, box, None)
    renewed = await rotate_tenant_secret(owner, box, OWN_TENANT, keep_old=False)
    assert await ensure_key(owner, box, first["api_key"]) == {"api_key": first["api_key"], "webhook_secret": renewed}


async def test_a_lost_key_is_replaced_and_the_secret_stays(owner: AsyncEngine, box: SecretBox) -> None:
    first = await ensure_key(owner, box, None)
    second = await ensure_key(owner, box, "cc_of-another-database")
    assert second["webhook_secret"] == first["webhook_secret"]
    assert second["api_key"] and await authenticate(owner, second["api_key"])


async def test_a_secret_that_no_present_key_opens_is_renewed(owner: AsyncEngine, box: SecretBox) -> None:
    first = await ensure_key(owner, box, None)
    other = SecretBox.from_setting(new_secret_key())
    assert await webhook_secret(owner, other, OWN_TENANT) is None
    second = await ensure_key(owner, other, first["api_key"])
    assert second["webhook_secret"] not in (None, first["webhook_secret"])
    assert await webhook_secret(owner, other, OWN_TENANT) == second["webhook_secret"]
