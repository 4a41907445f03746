"""One soak: load, faults, calm, check."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import connect
from core.secrets import SecretBox
from core.store.keys import SCOPES, create_key
from tests.integration.webhooks.receivers import receiving
from tests.soak import plan
from tests.soak.checker import violations
from tests.soak.evidence import Evidence
from tests.soak.faults import carry_out
from tests.soak.house import House, open_house
from tests.soak.journal import Journal
from tests.soak.load import KEY_LIMITS, Client
from tests.support.waiting import eventually

#: Whatever was accepted has ended so many seconds after the last fault.
CALM_S: Final = 60.0
_LOOK_S: Final = 0.5
#: `attempt_broke`, `cache_look_broke`, `engine_part_broke` and the like; and tasks that died unseen.
_SURPRISED: Final = ('_broke"', "was never retrieved", '"engine_failed"')
_TENANTS: Final = ("first", "second")
_UNFINISHED: Final = text("""
    SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL) AS jobs,
      (SELECT count(*) FROM webhook_deliveries WHERE status IN ('pending', 'sending')) AS deliveries""")
_ACTIVE: Final = text("""
    SELECT concurrency_key AS key, tenant_id, count(*) AS jobs FROM running
    WHERE concurrency_key = ANY (:keys) GROUP BY 1, 2""")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a soak. ``jobs`` counts by status, ``kinds`` what was accepted by kind of request."""

    seed: int
    faults: list[plan.Fault]
    violations: list[str]
    jobs: Counter[str]
    kinds: Counter[str]
    answers: Counter[int]
    calm_s: float
    slowest_s: float


async def soak(seed: int, seconds: float, folder: Path, *, clients: int = 6) -> Outcome:
    """Run one soak of ``seconds`` of faults that follow from ``seed``; logs of all processes are left in ``folder``."""
    journal = Journal()
    faults = plan.draw(seed, seconds)
    with open_house(folder, journal) as house:
        async with _owner(house) as owner, receiving(house.receive) as receiver:
            await house.move_in()
            supervisor = asyncio.create_task(house.supervise())
            lookers = [asyncio.create_task(_look_at(house, owner)), asyncio.create_task(_count_calls(house))]
            crowd = await _crowd(house, owner, receiver.url, seed, clients)
            running = [asyncio.create_task(client.run()) for client in crowd]
            await _trouble(house, faults, seconds)
            calm_s = await _calm(owner, crowd, running, journal)
            for task in (*lookers, supervisor):
                task.cancel()
            for end in await asyncio.gather(*lookers, supervisor, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end
            await asyncio.to_thread(_note_calls, house)
            evidence = await Evidence.gather(owner, journal, receiver.requests)
    found = [f"seed {seed}: {problem}" for problem in (*violations(evidence), *_complaints(folder))]
    kinds = Counter(promise.kind for promise in journal.jobs.values()) + Counter(bulk=len(journal.groups))
    jobs = Counter(row.status for row in evidence.tables["jobs"])
    return Outcome(seed, faults, found, jobs, kinds, journal.answers, calm_s, journal.slowest_s)


def _complaints(folder: Path) -> Iterator[str]:
    """Faults are no surprise to any process: what it logs as a bug of its own is one."""
    for log in sorted(folder.glob("*.log")):
        for line in log.read_text(errors="replace").splitlines():
            if any(word in line for word in _SURPRISED):
                yield f"{log}: {line[:200]}"


@asynccontextmanager
async def _owner(house: House) -> AsyncIterator[AsyncEngine]:
    engine = connect(house.settings, None, pool_size=2, name="soak")
    yield engine
    await engine.dispose()


async def _crowd(house: House, owner: AsyncEngine, hook: str, seed: int, clients: int) -> list[Client]:
    """Two tenants, of which the first is told of everything at an endpoint of its own."""
    assert house.settings.secret_key is not None
    box = SecretBox.from_setting(house.settings.secret_key.get_secret_value())
    made_keys = {name: await create_key(owner, box, name, SCOPES) for name in _TENANTS}
    keys = {name: made_key.key for name, made_key in made_keys.items()}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {keys['first']}"}, trust_env=False) as http:
        made = await http.post(f"{house.apis[0]}/v1/webhook_endpoints", json={"url": hook})
        assert made.status_code == 201, made.text
    house.secrets["endpoint"] = made.json()["signing_secret"]
    house.secrets |= {name: made_key.webhook_secret or "" for name, made_key in made_keys.items()}
    names = [f"{_TENANTS[number % 2]}-{number}" for number in range(clients)]
    return [
        Client(house, house.journal, name, keys[name.partition("-")[0]], hook, random.Random(f"{seed} {name}"))
        for name in names
    ]


async def _trouble(house: House, faults: list[plan.Fault], seconds: float) -> None:
    """Carry out all faults, each at its time, side by side; return when the last one is undone."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as doing:
        for fault in faults:
            await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
            doing.create_task(carry_out(house, fault))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))


async def _calm(
    owner: AsyncEngine, crowd: list[Client], running: list["asyncio.Task[None]"], journal: Journal
) -> float:
    """Let everything come to its end; how many seconds that took."""
    began = time.monotonic()
    for client in crowd:
        client.stopping = True

    async def ended() -> bool:
        with suppress(DBAPIError, OSError):
            async with owner.connect() as connection:
                row = (await connection.execute(_UNFINISHED)).one()
            return (row.jobs, row.deliveries) == (0, 0)
        return False

    _, late = await asyncio.wait(running, timeout=CALM_S)
    for task in late:
        task.cancel()
    if late:
        journal.wrong("clients", f"{len(late)} of them still wait for an answer or for the end of a stream")
    for task in running:
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error
    with suppress(AssertionError):  # the checker says what has not ended
        await eventually(ended, CALM_S)
    return time.monotonic() - began


async def _look_at(house: House, owner: AsyncEngine) -> None:
    """Look now and then whether more jobs of a concurrency key run than may."""
    while True:
        with suppress(DBAPIError, OSError):
            async with owner.connect() as connection:
                for row in await connection.execute(_ACTIVE, {"keys": list(KEY_LIMITS)}):
                    if row.jobs > KEY_LIMITS[row.key]:
                        house.journal.wrong(f"{row.key} of {row.tenant_id}", f"{row.jobs} of its jobs run at once")
        await asyncio.sleep(_LOOK_S)


async def _count_calls(house: House) -> None:
    """Note which jobs the simulator was called for, before it forgets them."""
    while True:
        await asyncio.to_thread(_note_calls, house)
        await asyncio.sleep(4 * _LOOK_S)


def _note_calls(house: House) -> None:
    with httpx.Client(base_url=house.simulator.url, trust_env=False, timeout=30) as http:
        for call in http.get("/stats", params={"last": 2000}).json()["last"]:
            if call["job_id"] is not None:
                house.journal.calls.setdefault(call["job_id"], set()).add(call["id"])
