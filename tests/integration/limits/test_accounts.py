"""Accounts in a real Redis: they hold under concurrency, settle once, and do in Lua what the model in `policies.limits` does."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from cli.stack.redis import EmbeddedRedis
from core.announce import open_redis
from core.limits import Accounts, Candidate, Gate
from policies.limits import BASED, Account, Kind, Limits, LocalAccounts, Owners
from tests.support.proxy import Proxy

TENANT = UUID(int=7)


class Truth:
    """What Postgres would say."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}
        self.asked = 0

    async def __call__(self, wanted: Sequence[Account]) -> Mapping[str, int]:
        self.asked += 1
        return {account.name: self.told.get(account.name, 0) for account in wanted}


def account(kind: Kind = Kind.TOKENS, limit: int = 1000, amount: int = 100, owner: str = "key:1") -> Account:
    return Account(kind, owner, limit, amount, TENANT)


@pytest.fixture
async def client(redis: EmbeddedRedis) -> AsyncIterator["Redis"]:
    client = open_redis(redis.url, 1.0)
    yield client
    await client.aclose()


@pytest.fixture
def truth() -> Truth:
    return Truth()


@pytest.fixture
def ledger(client: "Redis", truth: Truth) -> Accounts:
    return Accounts(client, truth)


async def test_64_clients_together_never_pass_the_limit(ledger: Accounts) -> None:
    async def client(number: int) -> int:
        granted = 0
        for turn in range(5):
            granted += (await ledger.take(f"{number}-{turn}", [account(limit=10_000, amount=130)])).granted
        return granted

    granted = sum(await asyncio.gather(*(client(number) for number in range(64))))
    assert granted == 10_000 // 130


async def test_a_wish_larger_than_the_limit_passes_alone(ledger: Accounts) -> None:
    assert (await ledger.take("large", [account(limit=10, amount=500)])).granted
    assert not (await ledger.take("small", [account(limit=10, amount=1)])).granted


async def test_a_refusal_on_one_account_takes_nothing_from_the_others(ledger: Accounts) -> None:
    tight, wide = account(limit=50, amount=40), account(limit=1000, amount=40, owner="tenant:1")
    assert (await ledger.take("a", [tight, wide])).used == (40, 40)
    refused = await ledger.take("b", [wide, tight])
    assert (refused.granted, refused.refused, refused.used) == (False, tight, (40, 40))
    assert 60 < refused.wait_s <= 61.1


async def test_settling_returns_what_was_not_used_and_only_once(ledger: Accounts) -> None:
    wanted = [account(limit=1000, amount=600)]
    assert (await ledger.take("a", wanted)).granted
    assert not (await ledger.take("b", wanted)).granted
    await ledger.settle("a", wanted, [100])
    await ledger.settle("a", wanted, [0])
    assert (await ledger.take("b", wanted)).used == (700,)


async def test_what_was_used_beyond_the_estimate_counts_and_only_once(ledger: Accounts) -> None:
    wanted = [account(limit=1000, amount=100)]
    await ledger.take("a", wanted)
    await ledger.settle("a", wanted, [950])
    await ledger.settle("a", wanted, [950])
    refused = await ledger.take("b", wanted)
    assert (refused.granted, refused.used) == (False, (950,))


async def test_a_truth_arriving_after_its_estimate_has_left_counts_only_what_exceeds_it(ledger: Accounts) -> None:
    await ledger.settle("long-gone", [account(amount=100)], [130])
    await ledger.settle("long-gone", [account(amount=100)], [130])
    assert (await ledger.take("b", [account(amount=1)])).used == (31,)


async def test_a_failed_job_gives_all_of_it_back(ledger: Accounts) -> None:
    wanted = [account(limit=100, amount=100)]
    await ledger.take("a", wanted)
    await ledger.settle("a", wanted, [0])
    assert (await ledger.take("b", wanted)).used == (100,)


async def test_the_same_reservation_is_not_taken_twice(ledger: Accounts) -> None:
    wanted = [account(limit=100, amount=100)]
    assert (await ledger.take("a", wanted)).granted
    again = await ledger.take("a", wanted)
    assert (again.granted, again.used) == (True, (100,))


async def test_a_queue_is_full_until_postgres_says_otherwise(ledger: Accounts, truth: Truth) -> None:
    place = account(Kind.QUEUED, limit=2, amount=1)
    for number in ("a", "b"):
        assert (await ledger.take(number, [place])).granted
        await ledger.settle(number, [place], [1])
        truth.told[place.name] = truth.told.get(place.name, 0) + 1
    assert not (await ledger.take("c", [place])).granted
    truth.told[place.name] = 1  # one of them has started
    await asyncio.sleep(0)
    deadline = time.monotonic() + 10
    while not (taken := await ledger.take("c", [place])).granted and time.monotonic() < deadline:
        pass  # looking into Postgres has to cool down first
    assert (taken.granted, taken.used) == (True, (2,))


async def test_a_place_that_was_not_used_is_free_again(ledger: Accounts) -> None:
    place = account(Kind.QUEUED, limit=1, amount=1)
    assert (await ledger.take("a", [place])).granted
    await ledger.settle("a", [place], [0])
    assert (await ledger.take("b", [place])).granted


async def test_64_submissions_find_exactly_the_places_there_are(ledger: Accounts, truth: Truth) -> None:
    place = account(Kind.QUEUED, limit=10, amount=1)
    truth.told[place.name] = 3

    async def submit(number: int) -> bool:
        return (await ledger.take(str(number), [place])).granted

    assert sum(await asyncio.gather(*map(submit, range(64)))) == 7


async def test_money_set_aside_counts_as_spent(ledger: Accounts, truth: Truth) -> None:
    budget = account(Kind.DAY, limit=1_000, amount=300)
    truth.told[budget.name] = 500
    assert (await ledger.take("a", [budget])).used == (800,)
    assert not (await ledger.take("b", [budget])).granted
    await ledger.settle("a", [budget], [10])
    assert (await ledger.take("b", [budget])).granted


async def test_a_budget_of_nothing_lets_nothing_pass(ledger: Accounts) -> None:
    assert not (await ledger.take("a", [account(Kind.DAY, limit=0, amount=0)])).granted


async def test_without_redis_each_process_keeps_its_share(redis: EmbeddedRedis, truth: Truth) -> None:
    nowhere = open_redis("redis://127.0.0.1:9/0", 0.2)
    ledger = Accounts(nowhere, truth, processes=lambda: 4)
    wanted = account(limit=1000, amount=100)
    taken = [await ledger.take(str(number), [wanted]) for number in range(5)]
    assert [each.granted for each in taken] == [True, True, False, False, False]
    await ledger.settle("0", [wanted], [0])
    assert (await ledger.take("6", [wanted])).granted
    await nowhere.aclose()


operations = st.lists(
    st.tuples(st.sampled_from(["take", "settle"]), st.integers(0, 5), st.integers(0, 120), st.integers(0, 150)),
    max_size=25,
)


@given(operations, st.sampled_from([Kind.TOKENS, Kind.RUNNING, Kind.QUEUED, Kind.MONTH]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_scripts_do_what_the_model_does(
    client: "Redis", operations: list[tuple[str, int, int, int]], kind: Kind
) -> None:
    told = Truth()
    ledger, model = Accounts(client, told), LocalAccounts()
    key = f"key:{uuid4().hex}"
    amounts: dict[str, int] = {}
    for now, (what, number, amount, actual) in enumerate(operations):
        wish = str(number)
        wanted = [account(kind, 300, amounts.get(wish, amount), key)]
        if what == "take":
            ledger._cooling.clear()
            here = await ledger.take(wish, wanted)
            there = model.take(wish, wanted, now + 1, {wanted[0].name: (0, 0)})
            if not there.granted and wanted[0].kind in BASED:
                there = model.take(wish, wanted, now + 1, {wanted[0].name: (0, now + 1)})
            assert (here.granted, here.used) == (there.granted, there.used)
            if here.granted:
                amounts.setdefault(wish, amount)
        elif wish in amounts:
            wanted = [account(kind, 300, amounts.pop(wish), key)]
            await ledger.settle(wish, wanted, [actual])
            model.settle(wish, wanted, [actual], now + 1)


def owners(key: UUID, **limits: int) -> Owners:
    return Owners(TENANT, key, Limits(**limits))  # type: ignore[arg-type]


async def test_a_redis_that_goes_while_postgres_is_asked_refuses_nobody(redis: EmbeddedRedis, truth: Truth) -> None:
    with Proxy(str(redis.socket)) as proxy:
        client = open_redis(f"redis://127.0.0.1:{proxy.port}/0", 1.0)

        async def asked_as_redis_goes(wanted: Sequence[Account]) -> Mapping[str, int]:
            proxy.set("reset")
            return await truth(wanted)

        queued = account(Kind.QUEUED, limit=10, amount=1)
        taken = await Accounts(client, asked_as_redis_goes).take("a", [queued])
        assert (taken.granted, taken.used, truth.asked) == (True, (1,), 2)
        await client.aclose()


async def test_the_gate_holds_back_what_exceeds_a_limit_and_spreads_it(ledger: Accounts) -> None:
    key, free = uuid4(), uuid4()

    async def load(keys: Sequence[UUID]) -> Mapping[UUID, Owners]:
        return {key: owners(key, tokens_per_minute=1000)}

    gate = Gate(ledger, load)

    def candidate(of: UUID | None) -> Candidate:
        return Candidate(uuid4(), of, lambda: (300, None))

    jobs = [candidate(key) for _ in range(6)]
    waits = await gate.admit([*jobs, candidate(free), candidate(None)])
    assert list(waits) == [job.job for job in jobs[3:]]
    # The first looks again soon: what was set aside may be settled, and much smaller, any moment.
    assert sorted(waits.values()) == list(waits.values())
    assert min(waits.values()) == 10
    gate.ended(jobs[0].job, tokens=10, cost=Decimal(1))
    gate.ended(jobs[0].job, tokens=10)
    await gate.aclose()
    assert await gate.admit([jobs[3]]) == {}


async def test_the_gate_counts_running_jobs_until_they_end(ledger: Accounts) -> None:
    key = uuid4()

    async def load(keys: Sequence[UUID]) -> Mapping[UUID, Owners]:
        return {key: owners(key, max_in_flight=2)}

    gate = Gate(ledger, load)
    jobs = [Candidate(uuid4(), key, lambda: (1, None)) for _ in range(3)]
    assert list(await gate.admit(jobs)) == [jobs[2].job]
    gate.ended(jobs[0].job)
    await gate.aclose()
    assert await gate.admit([jobs[2]]) == {}
