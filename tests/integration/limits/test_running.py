"""Jobs in flight, as limits count them: for as long as somebody says that they run."""

from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.limits import Accounts, Candidate, Gate
from policies.limits import Account, Kind, Limits, LocalAccounts, Owners
from tests.support.waiting import eventually

TENANT = UUID(int=7)
SECOND = 1_000_000


@pytest.fixture
async def client(redis: EmbeddedRedis) -> AsyncIterator["Redis"]:
    client = open_redis(redis.url, 1.0)
    yield client
    await client.aclose()


async def nothing(_: Sequence[Account]) -> Mapping[str, int]:
    return {}


async def test_who_runs_a_job_says_so_again_until_it_ends(client: "Redis") -> None:
    key = uuid4()

    async def load(keys: Sequence[UUID]) -> Mapping[UUID, Owners]:
        return {key: Owners(TENANT, key, Limits(max_in_flight=1))}

    gate = Gate(Accounts(client, nothing), load, again_s=0.01)
    [first, second] = (Candidate(uuid4(), key, lambda: (1, None)) for _ in range(2))
    assert await gate.admit([first]) == {}
    open_ones = f"coatcheck:limit:running:key:{key.hex}:o"
    began = await client.zscore(open_ones, first.job.hex)
    assert began is not None

    async def later() -> bool:
        return (await client.zscore(open_ones, first.job.hex) or 0.0) > began

    await eventually(later)
    assert list(await gate.admit([second])) == [second.job]
    gate.ended(first.job)
    await gate.aclose()
    assert await gate.admit([second]) == {}
    gate.ended(second.job)
    await gate.aclose()


async def test_what_nobody_says_again_is_free_soon_after_its_worker_died() -> None:
    running = Account(Kind.RUNNING, "key:1", 1, 1, TENANT)
    accounts = LocalAccounts()
    assert accounts.take("lost", [running], 0, {}).granted
    assert accounts.take("lost", [running], 60 * SECOND, {}).granted
    assert not accounts.take("next", [running], 120 * SECOND, {}).granted
    assert accounts.take("next", [running], 180 * SECOND, {}).granted
