"""Postgres restarted under load, and an API that dies at its commit: a 202 is a promise, and nothing else is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from core import ids
from core.settings import Settings
from tests.support.processes import Stage
from tests.support.proxy import Proxy
from tests.support.servers import Databases, crashable_postgres, socket_of, through
from tests.support.simulator import RunningSimulator
from tests.support.store import CHAT, Store, chat_body
from tests.support.waiting import eventually

BODY = chat_body("sim/fast", sim={"ttft_ms": 20})


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Databases]:
    """A Postgres of this module's own, durable."""
    with crashable_postgres() as running:
        yield running


@pytest.fixture
def database_url(own_postgres: Databases) -> Iterator[str]:
    url = own_postgres.create()
    yield url
    own_postgres.drop(url)


@dataclass
class Client:
    """Posts jobs, one after the other, each until it is accepted, and remembers every answer."""

    http: httpx.AsyncClient
    accepted: dict[str, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    odd: list[str] = field(default_factory=list)
    stopping: bool = False

    async def post(self, key: str) -> httpx.Response | None:
        """One try; None when the connection broke."""
        document = {"endpoint": CHAT, "body": BODY_DICT}
        try:
            answer = await self.http.post("/v1/jobs", json=document, headers={"idempotency-key": key})
        except httpx.TransportError:
            self.unanswered += 1
            return None
        self.answers[answer.status_code] += 1
        if answer.status_code == 503 and "retry-after" not in answer.headers:
            self.odd.append("503 without Retry-After")
        elif answer.status_code not in (200, 202, 503):
            self.odd.append(answer.text)
        return answer

    async def run(self, name: str) -> None:
        """Post until told to stop; what was not accepted is tried again under the same key."""
        number = 0
        while not self.stopping:
            key = f"{name}-{number}"
            number += 1
            while True:
                answer = await self.post(key)
                if answer is not None and answer.status_code in (200, 202):
                    self.accepted[key] = answer.json()["id"]
                    break
                await asyncio.sleep(0.02)


BODY_DICT: dict[str, Any] = httpx.Response(200, content=BODY).json()


@pytest.fixture
async def clients() -> AsyncIterator[list[httpx.AsyncClient]]:
    opened: list[httpx.AsyncClient] = []
    yield opened
    for client in opened:
        await client.aclose()


def open_client(clients: list[httpx.AsyncClient], url: str, key: str) -> Client:
    http = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=15, trust_env=False)
    clients.append(http)
    return Client(http)


async def every_job_ended_well(store: Store, client: Client) -> None:
    """Each key has one job, and each accepted id is one of them and has a result."""

    async def look() -> bool:
        rows = await store.rows("SELECT id, status FROM jobs")
        assert Counter(row.status for row in rows) == {"succeeded": len(client.accepted)}
        assert {ids.encode(ids.JOB, row.id) for row in rows} == set(client.accepted.values())
        return True

    await eventually(look, 60)


async def test_postgres_restarted_under_load_loses_no_accepted_job(
    own_postgres: Databases, store: Store, stage: Stage, api_key: str, clients: list[httpx.AsyncClient]
) -> None:
    api = await stage.api()
    await stage.worker(lease_s="8", database_pool="3")
    client = open_client(clients, api.url, api_key)
    loads = [asyncio.create_task(client.run(f"load-{n}")) for n in range(6)]

    async def accepted(more: int) -> None:
        target = len(client.accepted) + more

        async def look() -> bool:
            return len(client.accepted) >= target

        await eventually(look)

    for _ in range(2):
        await accepted(30)
        refused = client.answers[503]
        await asyncio.to_thread(own_postgres.server.stop, "immediate")

        async def refusing(before: int = refused) -> bool:
            return client.answers[503] > before

        await eventually(refusing)
        own_postgres.server.start()  # in this thread: the server ends with the thread that started it
    await accepted(30)
    client.stopping = True
    await asyncio.gather(*loads)
    assert client.odd == []
    assert client.unanswered == 0
    await every_job_ended_well(store, client)


async def test_a_postgres_that_is_away_is_a_503_and_no_hanging_request(
    own_postgres: Databases, database_url: str, stage: Stage, stage_settings: Settings, api_key: str,
    clients: list[httpx.AsyncClient],
) -> None:  # fmt: skip
    with Proxy(socket_of(own_postgres.server)) as proxy:
        behind = stage_settings.model_copy(update={"database_url": through(proxy, database_url)})
        proxy.set("reset")
        starting = asyncio.create_task(stage.api(behind, database_pool="3"))

        async def tried() -> bool:
            return proxy.accepted > 0

        await eventually(tried)
        proxy.set("pass")
        api = await starting
        client = open_client(clients, api.url, api_key)
        before = await client.post("before")
        assert before is not None
        assert before.status_code == 202
        proxy.set("reset")
        answer = await client.post("meanwhile")
        assert answer is not None
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) <= 120
        ready = await client.http.get("/readyz")
        assert ready.status_code == 503
        assert (await client.http.get("/healthz")).status_code == 200
        proxy.set("pass")

        async def accepted() -> bool:
            again = await client.post("meanwhile")
            return again is not None and again.status_code == 202

        await eventually(accepted)


@pytest.mark.parametrize("committed", [True, False])
async def test_an_api_killed_at_its_commit_leaves_one_job_per_key(
    own_postgres: Databases, database_url: str, store: Store, stage: Stage, api_key: str, simulator: RunningSimulator,
    clients: list[httpx.AsyncClient], committed: bool,
) -> None:  # fmt: skip
    """Between its commit and its doorbell, or just before the commit: the same key leads to the same single job."""
    with Proxy(socket_of(own_postgres.server)) as proxy:
        behind = stage.settings.model_copy(update={"database_url": through(proxy, database_url)})
        api = await stage.api(behind)
        client = open_client(clients, api.url, api_key)
        # Other transactions of this process commit too; the one with the key is meant.
        catch = proxy.catch(b"COMMIT", forward=committed, after=b"the-key")
        posting = asyncio.create_task(client.post("the-key"))
        await asyncio.to_thread(catch.wait)
        api.kill()
        assert await posting is None
        proxy.release(catch, "cut")
    assert await store.value("SELECT count(*) FROM jobs") == committed

    await stage.worker()
    if committed:
        # Nobody rang, and nobody knows of the job but Postgres.
        async def done() -> bool:
            return await store.statuses() == {"succeeded": 1}

        await eventually(done)
    other = await stage.api()
    client = open_client(clients, other.url, api_key)
    answer = await client.post("the-key")
    assert answer is not None
    assert answer.status_code in (200, 202)
    assert answer.headers.get("idempotent-replayed") == ("true" if committed else None)
    client.accepted["the-key"] = answer.json()["id"]
    await every_job_ended_well(store, client)
    assert simulator.stats()["requests"] == 1


async def test_a_machine_that_is_lost_in_the_middle_of_a_commit_holds_its_rows_for_seconds_only(
    own_postgres: Databases, database_url: str, store: Store, stage: Stage, simulator: RunningSimulator
) -> None:
    """Nobody closes its connection: Postgres waits for a commit that will never come, and others wait for the locks."""
    with Proxy(socket_of(own_postgres.server)) as proxy:
        behind = stage.settings.model_copy(update={"database_url": through(proxy, database_url)})
        lost = await stage.worker(behind)
        # The end of a job with a concurrency key is a transaction of several statements.
        catch = proxy.catch(b"COMMIT", forward=False, after=b"INSERT INTO attempts")
        await store.add(await store.tenant(), concurrency_key="one", concurrency_limit=1)
        await asyncio.to_thread(catch.wait)
        proxy.set("stall-existing")
        lost.kill()
        await stage.worker()

        async def done() -> bool:
            return await store.statuses() == {"succeeded": 1}

        await eventually(done)
    assert simulator.stats()["requests"] == 2


async def test_an_api_without_a_broker_accepts_as_ever(
    store: Store, stage: Stage, stage_settings: Settings, api_key: str, clients: list[httpx.AsyncClient]
) -> None:
    nowhere = "/nonexistent/redis.sock"
    alone = stage_settings.model_copy(
        update={"redis_url": f"unix://{nowhere}?db=0", "broker_url": f"redis+socket://{nowhere}?virtual_host=1"}
    )
    api = await stage.api(alone)
    await stage.worker(alone)
    client = open_client(clients, api.url, api_key)
    for number in range(20):
        answer = await client.post(f"k{number}")
        assert answer is not None
        client.accepted[f"k{number}"] = answer.json()["id"]
    assert set(client.answers) == {202}
    await every_job_ended_well(store, client)
    held = await client.http.get(f"/v1/jobs/{client.accepted['k0']}", params={"wait": 30})
    assert held.json()["status"] == "succeeded"
