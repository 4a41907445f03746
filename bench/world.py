"""The servers all benchmarks share, and how to start the programs that are measured."""

import base64
import json
import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from bench.processes import Process
from bench.sizes import Sizes
from cli.schema import upgrade
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.redis import EmbeddedRedis
from cli.stack.server import clean_environment
from core.secrets import SecretBox
from core.settings import Settings

TENANT = "bench"


@dataclass(slots=True)
class World:
    """Postgres and Redis as `coatcheck up` configures them (durable commits, Unix sockets), and the simulated upstream."""

    folder: Path
    sizes: Sizes
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    simulator_url: str
    say: Callable[[str], None]
    key: str = field(default="", repr=False)
    tenant_id: UUID | None = None
    catalog: Path = Path(__file__).parents[1] / "catalog.toml"
    secret_key: str = field(default_factory=lambda: base64.b64encode(os.urandom(32)).decode(), repr=False)

    @property
    def settings(self) -> Settings:
        """The settings that the measured programs have too."""
        return Settings(
            database_url=self.postgres.url,
            redis_url=self.redis.url,
            broker_url=self.redis.broker_url,
            simulator_url=self.simulator_url,
        )

    @property
    def box(self) -> SecretBox:
        return SecretBox.from_setting(self.secret_key)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a measured program: what `coatcheck up` gives, nothing switched off."""
        usual = {name: value for name, value in clean_environment().items() if not name.startswith("COATCHECK_")}
        usual.pop("PYTHONDONTWRITEBYTECODE", None)
        return usual | {
            "COATCHECK_DATABASE_URL": self.postgres.url,
            "COATCHECK_REDIS_URL": self.redis.url,
            "COATCHECK_BROKER_URL": self.redis.broker_url,
            "COATCHECK_SIMULATOR_URL": self.simulator_url,
            "COATCHECK_CATALOG": str(self.catalog),
            "COATCHECK_SECRET_KEY": self.secret_key,
            "COATCHECK_WEBHOOK_ALLOW_RANGES": "127.0.0.0/8",
            "COATCHECK_WEBHOOK_ALLOW_HTTP": "true",
            "COATCHECK_WEBHOOK_ALLOW_ANY_PORT": "true",
            "COATCHECK_WORKER_GRACE_S": "2",
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.folder / "logs" / f"{name}.log"

    @contextmanager
    def api(self) -> Iterator[tuple[Process, int]]:
        """One API process; yields it and its port."""
        port = free_port()
        environment = self.environment(COATCHECK_API_PORT=str(port), COATCHECK_PUBLIC_URL=f"http://127.0.0.1:{port}")
        with Process(
            ["-m", "api"], environment, self.log("api"), lambda: answers(f"http://127.0.0.1:{port}/readyz")
        ) as process:
            yield process, port

    @contextmanager
    def worker(self, *, in_flight: int = 2048, lanes: str | None = None) -> Iterator[Process]:
        """One worker process with all lanes, as the stack runs it, unless ``lanes`` names some."""
        environment = self.environment(COATCHECK_WORKER_MAX_IN_FLIGHT=str(in_flight))
        arguments = ["-m", "workers", *(["--lanes", lanes] if lanes else [])]
        with Process(arguments, environment, self.log("worker")) as process:
            yield process


@contextmanager
def open_world(folder: Path, sizes: Sizes, say: Callable[[str], None]) -> Iterator[World]:
    """Start the shared servers in ``folder`` and stop them afterwards."""
    with EmbeddedPostgres(folder) as postgres, EmbeddedRedis(folder) as redis, _simulator(folder) as simulator_url:
        world = World(folder, sizes, postgres, redis, simulator_url, say)
        upgrade(world.settings)
        yield world


@contextmanager
def _simulator(folder: Path) -> Iterator[str]:
    with simulator_process(folder / "logs" / "simulator.log") as (_, url):
        yield url


@contextmanager
def simulator_process(log: Path) -> Iterator[tuple[Process, str]]:
    """A simulated upstream of its own; yields it and its URL."""
    told = re.compile(r"simulator ready (\S+)")
    log.unlink(missing_ok=True)  # it may name the port of one before
    with Process(
        ["-m", "cli.simulator", "--port", "0"],
        clean_environment(),
        log,
        lambda: told.search(log.read_text()) is not None,
    ) as process:
        found = told.search(log.read_text())
        assert found is not None
        yield process, found[1]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Tell whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own servers
            return bool(answer.status == 200)
    except OSError:
        return False


def get_json(url: str) -> dict[str, object]:
    """Return the JSON that a GET brings.

    Raises:
        OSError: when there is no answer.
    """
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own servers
        told: dict[str, object] = json.load(answer)
        return told


def reset_upstream(world: World) -> None:
    """Let the simulated upstream forget what it counted."""
    request = urllib.request.Request(f"{world.simulator_url}/control", b'{"reset_stats": true}')  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass


def most_in_flight(world: World) -> int:
    """Return how many requests the upstream had at once since the last reset: what was really in flight."""
    return int(str(get_json(f"{world.simulator_url}/stats?last=0")["max_in_flight"]))
