"""The books of caches against what clients saw: jobs in any order, counted by hand, and compared with /v1/cache/stats."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.settings import Settings
from core.telemetry.metrics import REGISTRY
from tests.integration.engine.conftest import StartEngine
from tests.support.api import Caller, running_api
from tests.support.simulator import RunningSimulator
from tests.support.store import CHAT, Store

EMBED = "/v1/embeddings"
PRICED, UNPRICED, VECTORS = "sim/small", "sim/fast", "sim/embed"
MODES = ("default", "default", "default", "refresh", "off", "only")
STATUSES = ("hit", "semantic_hit", "miss", "coalesced", "refreshed")


def counted() -> Counter[str]:
    """What the metrics say of jobs and caches."""
    registry: CollectorRegistry = REGISTRY
    found = {name: registry.get_sample_value("coatcheck_cache_jobs_total", {"status": name}) for name in STATUSES}
    return Counter({name: int(value or 0) for name, value in found.items()})


@dataclass
class Books:
    """What one endpoint and model should have come to."""

    statuses: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    usd: Decimal = Decimal(0)
    ms: float = 0.0
    unpriced: int = 0

    def spared(self, filled: dict[str, Any]) -> None:
        """Count a job that got the answer of another."""
        self.tokens += filled["usage"]["total_tokens"]
        self.ms += filled["timing"]["upstream_ms"]
        if filled["cost_usd"] is None:
            self.unpriced += 1
        else:
            self.usd += Decimal(filled["cost_usd"])

    def add(self, other: "Books") -> None:
        """Count what others counted."""
        self.statuses += other.statuses
        self.tokens += other.tokens
        self.usd += other.usd
        self.ms += other.ms
        self.unpriced += other.unpriced

    def check(self, told: dict[str, Any]) -> None:
        """Compare with a row of the answer."""
        statuses, spared = self.statuses, self.statuses["hit"] + self.statuses["coalesced"]
        assert told["hits"] == statuses["hit"]
        assert told["semantic_hits"] == 0
        assert told["misses"] == statuses["miss"]
        assert told["coalesced"] == statuses["coalesced"]
        assert told["refreshed"] == statuses["refreshed"]
        assert told["saved_tokens"] == self.tokens
        assert told["unpriced"] == self.unpriced
        if spared and self.unpriced == spared:
            assert told["saved_usd"] is None
        else:
            assert Decimal(told["saved_usd"]) == self.usd
        assert told["saved_s"] == pytest.approx(self.ms / 1000, abs=0.001 * (spared + 1))


class Client:
    """Asks, remembers what must be kept by then, and counts."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._kept: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.books: dict[tuple[str, str], Books] = {}
        self.calls = 0

    async def ask(
        self, endpoint: str, model: str, text: str, mode: str, *, times: int = 1, lane: str = "default"
    ) -> None:
        """Ask the same question so many times at once, and check what each job says of caches."""
        books = self.books.setdefault((endpoint, model), Books())
        place = (endpoint, model, text)
        known = self._kept.get(place)
        answers = await asyncio.gather(*(self._post(endpoint, model, text, mode, lane) for _ in range(times)))
        if mode == "only" and known is None:
            assert {status for status, _ in answers} == {409}
            return
        jobs = [job for _, job in answers]
        seen = Counter(job["cache"]["status"] for job in jobs)
        assert {job["status"] for job in jobs} == {"succeeded"}
        if mode == "off":
            self.calls += times
            assert seen == {"bypass": times}
        elif mode == "refresh":
            self.calls += times
            assert seen == {"refreshed": times}
            books.statuses["refreshed"] += times
            self._kept[place] = jobs[-1]
        elif known is not None:
            assert seen == {"hit": times}
            self._spared(books, jobs, known)
        else:
            [first] = [job for job in jobs if job["cache"]["status"] == "miss"]
            self.calls += 1
            books.statuses["miss"] += 1
            self._kept[place] = first
            assert seen["hit"] + seen["coalesced"] == times - 1
            self._spared(books, [job for job in jobs if job is not first], first)

    def _spared(self, books: Books, jobs: list[dict[str, Any]], filled: dict[str, Any]) -> None:
        for job in jobs:
            assert (job["result"], job["cost_usd"]) == (filled["result"], "0")
            books.statuses[job["cache"]["status"]] += 1
            books.spared(filled)

    async def _post(self, endpoint: str, model: str, text: str, mode: str, lane: str) -> tuple[int, dict[str, Any]]:
        asked = (
            {"input": text}
            if endpoint == EMBED
            else {"messages": [{"role": "user", "content": text}], "temperature": 0}
        )
        sim = {"ttft_ms": 20, "tokens": 7} if endpoint == CHAT else {"latency_ms": 20}
        request = {
            "endpoint": endpoint,
            "body": {"model": model, "sim": sim, **asked},
            "lane": lane,
            "cache": {"mode": mode},
        }
        answer = await self._caller.http.post("/v1/jobs", json=request, headers={"prefer": "wait=20"})
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code, answer.json()


@pytest.mark.parametrize("seed", range(4))
async def test_the_books_say_what_clients_saw(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator, seed: int
) -> None:
    chance = random.Random(seed)
    await start_engine()
    before = counted()
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        caller = await api.caller("acme", "jobs:read", "jobs:write", "admin")
        other = await api.caller("globex", "jobs:read", "jobs:write", "admin")
        client, stranger = Client(caller), Client(other)
        for _step in range(25):
            endpoint, model = chance.choice([(CHAT, PRICED), (CHAT, UNPRICED), (EMBED, VECTORS)])
            text, mode = f"Question {chance.randrange(4)}", chance.choice(MODES)
            times = 1 if mode == "refresh" else chance.choice([1, 1, 6])
            await client.ask(endpoint, model, text, mode, times=times, lane=chance.choice(["default", "interactive"]))
        await stranger.ask(CHAT, PRICED, "Question 0", "default")
        told, strange = await caller.get("/v1/cache/stats"), await other.get("/v1/cache/stats")
    # Every job is in the rows of one or two hours; a test may run over the end of one.
    by_model: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in told["data"]:
        by_model.setdefault((row["endpoint"], row["model"]), []).append(row)
    total = Books()
    for place, books in client.books.items():
        total.add(books)
        if len(by_model.get(place, [])) == 1:
            books.check(by_model[place][0])
    assert set(by_model) <= set(client.books)
    assert min(total.statuses[name] for name in ("hit", "miss", "coalesced", "refreshed")) > 0
    total.check(told["total"])
    assert (strange["total"]["misses"], strange["total"]["hits"]) == (1, 0)
    assert simulator.stats()["requests"] == client.calls + 1
    assert counted() - before == total.statuses + Counter(miss=1)


QUESTION, SAME, OPPOSITE = "How do I cancel my order?", "How can I cancel my order?", "How do I not cancel my order?"


async def test_hits_by_meaning_are_counted_apart_also_of_jobs_that_were_to_go_into_a_batch(
    store: Store, engine_settings: Settings, start_engine: StartEngine, simulator: RunningSimulator
) -> None:
    await start_engine(upstream_batch_collect_s=0.05, upstream_batch_poll_s=0.05)
    before = counted()
    async with running_api(engine_settings, store.owner, catalog=engine_settings.catalog) as api:
        caller = await api.caller("acme", "jobs:read", "jobs:write", "admin")

        async def ended(text: str) -> dict[str, Any]:
            # Bulk requests are not looked up when they come in.
            body = {"model": "sim/batch", "messages": [{"role": "user", "content": text}], "temperature": 0}
            request = {"endpoint": CHAT, "body": body, "lane": "bulk", "cache": {"semantic": True}}
            group = await caller.post("/v1/jobs/bulk", 202, [request])
            [job] = (await caller.get("/v1/jobs", group_id=group["id"]))["data"]
            found: dict[str, Any] = await caller.get(f"/v1/jobs/{job['id']}", wait=20)
            return found

        jobs = [await ended(text) for text in (QUESTION, SAME, QUESTION, OPPOSITE)]
        told = (await caller.get("/v1/cache/stats"))["total"]
    assert [job["cache"]["status"] for job in jobs] == ["miss", "semantic_hit", "hit", "miss"]
    first = jobs[0]
    assert [job["result"] == first["result"] for job in jobs] == [True, True, True, False]
    assert (told["hits"], told["semantic_hits"], told["misses"], told["unpriced"]) == (1, 1, 2, 0)
    assert told["saved_tokens"] == 2 * first["usage"]["total_tokens"]
    assert Decimal(told["saved_usd"]) == 2 * Decimal(first["cost_usd"])
    assert told["saved_s"] == 0
    assert simulator.stats()["batches"]["submit"] == 2
    assert counted() - before == Counter(hit=1, semantic_hit=1, miss=2)
