"""Servers, processes and proxies of a soak, and the supervisor that starts again what was killed.

Half of the processes reach Postgres and Redis through proxies: worker-1 and api-1 are behind ``database-link``, worker-0
and api-1 behind ``redis-link``. So a cut meets some of them while the others go on.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from redis import Redis
from standardwebhooks import Webhook, WebhookVerificationError

from cli.stack.redis import EmbeddedRedis
from core.secrets import new_secret_key
from core.settings import Settings
from tests.integration.webhooks.receivers import OK, Received, answer
from tests.soak.journal import Journal
from tests.support.processes import Api, Running, Stage
from tests.support.proxy import Proxy
from tests.support.servers import Databases, crashable_postgres, running_redis, socket_of, through
from tests.support.simulator import RunningSimulator, running_simulator

_WATCH_S = 0.1
# Five processes start at once, perhaps beside another soak.
_START_S = 60.0
_LANES = "interactive,default,bulk,webhooks,maintenance"
# Webhooks go to a receiver on loopback and are tried again soon, more often than any trouble here lasts.
ENVIRONMENT = {
    "COATCHECK_WEBHOOK_ALLOW_RANGES": "127.0.0.0/8",
    "COATCHECK_WEBHOOK_SCHEDULE_S": ",".join(["0.5"] * 4 + ["1"] * 200),
    "COATCHECK_WEBHOOK_TIMEOUT_S": "2",
    "COATCHECK_WEBHOOK_LEASE_S": "4",
}


@dataclass(slots=True)
class Place:
    """One process that ought to run. ``killed`` says that its next end is no surprise."""

    start: Callable[[], Running]
    process: Running
    killed: bool = False
    #: Nobody but who stopped it starts it again.
    hold: bool = False


class House:
    """Everything that runs. ``place(name)`` finds processes, the rest are servers."""

    def __init__(
        self, databases: Databases, redis: EmbeddedRedis, simulator: RunningSimulator, links: dict[str, Proxy],
        settings: Settings, folder: Path, journal: Journal,
    ) -> None:  # fmt: skip
        self.databases = databases
        self.redis = redis
        self.simulator = simulator
        self.links = links
        self.settings = settings
        self.journal = journal
        self.receiver_mode = "well"
        #: A target has one fault at a time.
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: What webhooks are signed with: by tenant for its jobs' own URLs, and `endpoint`.
        self.secrets: dict[str, str] = {}
        self.stage = Stage(settings, folder, ENVIRONMENT)
        self._folder = folder
        self._places: dict[str, Place] = {}

    def broker(self) -> "Redis":
        """A client of the broker's database."""
        return Redis.from_url(self.redis.url_for(1), socket_timeout=5)

    def place(self, name: str) -> Place:
        """The place of a process: worker-0, worker-1, api-0, api-1, beat."""
        return self._places[name]

    @property
    def apis(self) -> list[str]:
        """URLs of the APIs, of which some may be away."""
        return [place.process.url for place in self._places.values() if isinstance(place.process, Api)]

    async def move_in(self) -> None:
        """Start all processes and wait until they work."""
        database, redis = self.links["database-link"].port, self.links["redis-link"]
        behind_database = {"database_url": through(self.links["database-link"], self.settings.database_url)}
        behind_redis = {
            "redis_url": f"redis://127.0.0.1:{redis.port}/0",
            "broker_url": f"redis://127.0.0.1:{redis.port}/1",
        }
        assert database
        for name, changes in (("0", behind_redis), ("1", behind_database)):
            self._open(f"worker-{name}", self._worker(self.settings.model_copy(update=changes)))
        for name, changes in (("0", {}), ("1", behind_redis | behind_database)):
            self._open(f"api-{name}", self._api(self.settings.model_copy(update=changes)))
        self._open("beat", lambda: self.stage.beat(self._folder / "beat-schedule"))
        for place in self._places.values():
            if isinstance(place.process, Api):
                await place.process.ready()
            else:
                await place.process.says("engine_started", "beat: Starting", timeout_s=_START_S)

    async def supervise(self) -> None:
        """Start again what has ended, for ever."""
        while True:
            for name, place in self._places.items():
                if not place.hold and not place.process.alive:
                    if not place.killed:
                        # No job is lost by that, it is what supervisors are for: but nothing that goes wrong here is a reason.
                        self.journal.wrong(name, f"ended by itself, see {place.process.log}")
                    place.killed = False
                    place.process = place.start()
            await asyncio.sleep(_WATCH_S)

    async def receive(self, request: Received, writer: asyncio.StreamWriter) -> bool:
        """What the webhook receiver does with a request."""
        data = orjson.loads(request.body)["data"]
        whose = data["metadata"]["mark"].partition("-")[0] if "own=1" in request.line else "endpoint"
        try:
            Webhook(self.secrets[whose]).verify(request.body, request.headers)
        except WebhookVerificationError as error:
            self.journal.wrong(data["id"], f"signed for somebody else than {whose}: {error}")
        if self.receiver_mode == "hangs":
            await asyncio.sleep(10)
        writer.write(answer(500) if self.receiver_mode == "errors" else OK)
        return True

    def _open(self, name: str, start: Callable[[], Running]) -> None:
        self._places[name] = Place(start, start())

    def _worker(self, settings: Settings) -> Callable[[], Running]:
        return lambda: self.stage.start_worker(settings, lanes=_LANES)

    def _api(self, settings: Settings) -> Callable[[], Running]:
        return lambda: self.stage.start_api(settings, database_pool="6")


@contextmanager
def open_house(folder: Path, journal: Journal) -> Iterator[House]:
    """Servers and proxies; at the end everything that was started is ended."""
    catalog = folder / "catalog.toml"
    catalog.touch()
    with ExitStack() as stack:
        databases = stack.enter_context(crashable_postgres())
        redis = stack.enter_context(running_redis())
        simulator = stack.enter_context(running_simulator())
        links = {
            "database-link": stack.enter_context(Proxy(socket_of(databases.server))),
            "redis-link": stack.enter_context(Proxy(str(redis.socket))),
        }
        names: dict[str, Any] = {
            "database_url": databases.create(),
            "redis_url": redis.url,
            "broker_url": redis.broker_url,
        }
        settings = Settings(
            **names,
            simulator_url=simulator.url,
            secret_key=new_secret_key(),
            catalog=catalog,
            public_url="http://coatcheck.test",
        )
        house = House(databases, redis, simulator, links, settings, folder, journal)
        stack.callback(house.stage.close)
        yield house
