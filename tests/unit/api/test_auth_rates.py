"""A tenant's requests per minute hold for all of its keys together, beside each key's own."""

from uuid import UUID, uuid4

import pytest

from api.auth import Authenticator
from api.edge.head import Head
from api.problems import Problem
from api.rate import RateLimiter
from core.store.keys import ApiKey
from policies.limits import Limits

TENANT = UUID(int=1)


def authenticator(*keys: ApiKey) -> Authenticator:
    tokens = {"cc_" + f"{number:020d}": key for number, key in enumerate(keys)}

    async def load(token: str) -> ApiKey | None:
        return tokens.get(token)

    return Authenticator(load, RateLimiter(None), 30)


def key(rpm: int | None, of_tenant: int | None) -> ApiKey:
    return ApiKey(uuid4(), TENANT, frozenset({"jobs:read"}), rpm, Limits(rpm), Limits(of_tenant))


async def ask(auth: Authenticator, number: int) -> dict[bytes, bytes]:
    head = Head({b"authorization": f"Bearer cc_{number:020d}".encode()})
    await auth.admit(head, "jobs:read")
    return dict(head.tags)


async def test_two_keys_of_a_tenant_share_its_limit() -> None:
    auth = authenticator(key(None, 3), key(10, 3))
    assert (await ask(auth, 0))[b"x-ratelimit-limit-requests"] == b"3"
    assert (await ask(auth, 1))[b"x-ratelimit-remaining-requests"] == b"1"
    await ask(auth, 1)
    for number in (0, 1):
        with pytest.raises(Problem) as caught:
            await ask(auth, number)
        assert (caught.value.code, caught.value.detail) == ("rate_limited", "This tenant may make 3 requests a minute.")


async def test_a_key_over_its_own_limit_takes_nothing_from_the_tenants() -> None:
    auth = authenticator(key(1, 3), key(None, 3))
    assert (await ask(auth, 0))[b"x-ratelimit-limit-requests"] == b"1"
    for _ in range(5):
        with pytest.raises(Problem, match="rate_limited"):
            await ask(auth, 0)
    assert (await ask(auth, 1))[b"x-ratelimit-remaining-requests"] == b"1"
