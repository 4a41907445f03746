"""A steady mixed load through HTTP. Whatever is promised to a client goes into the journal."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final

import httpx
import orjson

from tests.soak.house import House
from tests.soak.journal import GroupPromise, Journal, Promise
from tests.support.store import CHAT

Json = dict[str, Any]
#: An answer that takes longer counts as a hang. A statement is given up after 13 s, and an answer may need two in a row.
PATIENCE_S: Final = 30.0
_KINDS: Final = {
    "plain": 30, "streamed": 20, "cached": 20, "one at a time": 15, "late": 5, "doomed": 7, "short-lived": 7, "bulk": 4,
}  # fmt: skip
#: What a doomed job's model does each time it is asked, and how often it may be. Most often what opens no circuit breaker: where
#: nothing but doomed jobs is left at the end, each of the others makes them wait longer.
_REFUSED: Final[tuple[Json, int]] = ({"error": {"status": 400}}, 6)
_DOOMS: Final[Sequence[tuple[Json, int]]] = (
    *[_REFUSED] * 6,
    ({"error": {"status": 500}}, 1),
    ({"error": {"status": 500}}, 2),
    ({"malformed": "stream_cut", "after_tokens": 6}, 2),
)
#: Limits of the concurrency keys that jobs name.
KEY_LIMITS: Final = {"soak-1": 1, "soak-2": 2, "soak-3": 3}
_GONE: Final = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Client:
    """Hands in one job after the other until it is told to stop, and asks again wherever an answer was lost."""

    def __init__(self, house: House, journal: Journal, name: str, key: str, hook: str, chance: random.Random) -> None:
        self._house = house
        self._journal = journal
        self._name = name
        self._tenant = name.partition("-")[0]
        self._hook = hook
        self._chance = chance
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE_S, trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=4),
        )  # fmt: skip
        self._number = 0
        self._defeated: list[str] = []
        self._readers: set[asyncio.Task[None]] = set()
        self.stopping = False

    async def run(self) -> None:
        """Hand in until `stopping`; what is under way then is brought to its end."""
        while not self.stopping:
            self._number += 1
            kind = self._chance.choices(list(_KINDS), list(_KINDS.values()))[0]
            await (self._group() if kind == "bulk" else self._job(kind))
            await asyncio.sleep(self._chance.uniform(0.0, 0.15))
        await asyncio.gather(*self._readers)
        await self._http.aclose()

    async def _job(self, kind: str) -> None:
        mark = f"{self._name}-{self._number}"
        request = self._request(kind, mark)
        # Some do without: whether their job exists stays unknown where the answer is lost.
        key = mark if self._chance.random() < 0.8 else None
        answer = await self._accepted("/v1/jobs", request, key)
        if answer is None:
            return
        job = answer.json()
        promise = Promise(job["id"], self._tenant, kind, mark, key, "webhook" in request)
        self._journal.jobs[promise.id] = promise
        if request["body"].get("stream") and self._chance.random() < 0.4:
            self._beside(self._read(promise.id))
        elif self._chance.random() < 0.15:
            self._beside(self._wait_for(promise.id))
        if self._chance.random() < 0.08:
            await self._cancel("jobs", promise.id)
        if kind in ("doomed", "short-lived"):
            self._defeated.append(promise.id)
        if self._defeated and self._chance.random() < 0.05:
            await self._put_back(self._chance.choice(self._defeated))
        if key is not None and self._chance.random() < 0.15:
            await self._again(promise.id, request, key)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _group(self) -> None:
        mark = f"{self._name}-{self._number}"
        kinds = self._chance.choices(
            ["plain", "streamed", "one at a time", "cached", "doomed", "short-lived"], [5, 2, 2, 2, 1, 1], k=12
        )
        requests = [self._request(kind, f"{mark}-{number}") for number, kind in enumerate(kinds)]
        answer = await self._accepted("/v1/jobs/bulk", requests, mark)
        if answer is None:
            return
        group = GroupPromise(answer.json()["id"], self._tenant, len(requests))
        self._journal.groups[group.id] = group
        if self._chance.random() < 0.2:
            await self._cancel("groups", group.id)

    def _request(self, kind: str, mark: str) -> Json:
        chance = self._chance
        # The answer repeats its question's words: whoever gets another one's answer is found out.
        said = f"Answer {self._number // 12 * 12 + chance.randrange(3)}" if kind == "cached" else f"Answer for {mark}"
        streams = kind == "streamed" or (kind == "cached" and chance.random() < 0.3)
        sim: Json = {"text": f"{said} " + "coat " * 12, "ttft_ms": 30, "tokens_per_s": 100}
        if kind != "cached":
            sim["ttft_ms"] = int(chance.choice([5, 20, 50, 200, 800]))
        elif self._number // 12 % 4 == 3:
            # Who shares a call that fails has to make one of their own.
            sim |= _REFUSED[0]
        body = {
            "model": "sim/fast", "messages": [{"role": "user", "content": said}], "stream": streams, "sim": sim,
            "temperature": 0 if kind == "cached" else 1,
        }  # fmt: skip
        request: Json = {
            "endpoint": CHAT, "body": body, "lane": chance.choice(["interactive", "default", "bulk"]),
            "timeout_s": 8, "max_attempts": 6, "metadata": {"mark": mark},
        }  # fmt: skip
        if kind == "doomed":
            doom, request["max_attempts"] = chance.choice(_DOOMS)
            body["stream"] = "malformed" in doom or chance.random() < 0.3
            sim |= doom
        if kind == "short-lived":
            request["expires_in_s"] = round(chance.uniform(0.3, 2.0), 2)
        if kind in ("one at a time", "short-lived"):
            # Not for long, or they would still queue when the calm is over.
            sim["ttft_ms"] = min(sim["ttft_ms"], 100)
            name = chance.choice(list(KEY_LIMITS))
            request |= {"concurrency_key": name, "concurrency_limit": KEY_LIMITS[name]}
        if kind == "late":
            request["delay_s"] = round(chance.uniform(0.2, 3.0), 2)
        if chance.random() < 0.3:
            request["webhook"] = {"url": f"{self._hook}&own=1"}
        return request

    async def _accepted(self, path: str, document: Any, key: str | None) -> httpx.Response | None:
        """Ask until it is accepted; without a key only once, because a lost answer may have been a yes."""
        while True:
            answer = await self._post(path, document, key)
            if answer is not None and answer.status_code in (200, 202):
                return answer
            if key is None:
                return None
            await asyncio.sleep(self._chance.uniform(0.05, 0.3))

    async def _again(self, job: str, request: Json, key: str) -> None:
        """The same key leads to the same job, whichever API is asked; with another payload to nothing."""
        answer = await self._post("/v1/jobs", request, key)
        if answer is not None and answer.status_code in (200, 202) and answer.json()["id"] != job:
            self._journal.wrong(job, f"its key led to {answer.json()['id']} too")
        other = request | {"priority": 9}
        answer = await self._post("/v1/jobs", other, key, expected=(422,))
        if answer is not None and answer.status_code in (200, 202):
            self._journal.wrong(job, "its key was taken with another payload")

    async def _put_back(self, job: str) -> None:
        """Have a job queued again that may have ended without success; if it was cancelled, it may now succeed."""
        self._journal.cancelled.discard(job)
        await self._post(f"/v1/jobs/{job}/retry", None, None)

    async def _cancel(self, kind: str, name: str) -> None:
        await asyncio.sleep(self._chance.choice([0.0, 0.05, 0.3]))
        answer = await self._post(f"/v1/{kind}/{name}/cancel", None, None)
        if (
            answer is not None
            and answer.status_code == 200
            and answer.json()["status"] == "cancelled"
            and kind == "jobs"
        ):
            self._journal.cancelled.add(name)
            self._defeated.append(name)

    async def _post(
        self, path: str, document: Any, key: str | None, expected: tuple[int, ...] = ()
    ) -> httpx.Response | None:
        """One try with one of the APIs; None when the connection broke."""
        url = self._chance.choice(self._house.apis)
        try:
            answer = await self._http.post(url + path, json=document, headers={"idempotency-key": key} if key else None)
        except _GONE:
            self._journal.unanswered += 1
            return None
        except httpx.TimeoutException:
            self._journal.wrong(path, f"no answer within {PATIENCE_S:g} s from {url} ({key})")
            return None
        self._journal.answers[answer.status_code] += 1
        self._journal.slowest_s = max(self._journal.slowest_s, answer.elapsed.total_seconds())
        if answer.status_code == 503:
            if "retry-after" not in answer.headers:
                self._journal.wrong(path, "503 without Retry-After")
        elif answer.status_code not in (200, 202, 409, *expected):
            self._journal.wrong(path, f"answered {answer.status_code}: {answer.text[:300]}")
        return answer

    async def _wait_for(self, job: str) -> None:
        """Ask for the job, with a long poll, until it has ended: what was told then holds whatever happens later."""
        while True:
            url = f"{self._chance.choice(self._house.apis)}/v1/jobs/{job}?wait=3"
            try:
                answer = await self._http.get(url)
            except _GONE:
                self._journal.unanswered += 1
            except httpx.TimeoutException:
                self._journal.wrong(job, f"no answer within {PATIENCE_S:g} s to {url}")
            else:
                if answer.status_code == 200 and answer.json()["status"] not in ("queued", "running"):
                    self._journal.told[job] = answer.json()
                    return
                if answer.status_code not in (200, 503):
                    self._journal.wrong(job, f"asked for, answered {answer.status_code}: {answer.text[:300]}")
            await asyncio.sleep(0.1)

    async def _read(self, job: str) -> None:
        """Read the job's events to their end, from any API, going on after what was seen."""
        text, seen = "", 0
        steps = self._journal.steps.setdefault(job, [])
        while True:
            url = f"{self._chance.choice(self._house.apis)}/v1/jobs/{job}/events?after={seen}"
            try:
                async with self._http.stream("GET", url) as answer:
                    if answer.status_code != 200:
                        await asyncio.sleep(0.2)
                        continue
                    async for number, kind, data in events(answer):
                        if number <= seen:
                            self._journal.wrong(job, f"event {number} came after {seen}")
                        seen = number
                        steps.append(f"{number} {kind.removeprefix('job.')} {url.partition('/v1')[0]}")
                        if kind == "job.reset":
                            text = ""
                        elif kind == "job.delta":
                            text += data["delta"]
                        elif kind in ("job.succeeded", "job.failed", "job.cancelled", "job.expired"):
                            self._journal.read[job] = (text, kind)
                            return
            except (*_GONE, httpx.TimeoutException):
                self._journal.unanswered += 1
            await asyncio.sleep(0.1)


async def events(answer: httpx.Response) -> AsyncIterator[tuple[int, str, Json]]:
    """Yield number, type and data of each server-sent event."""
    number, kind = 0, ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            yield number, kind, orjson.loads(value)
