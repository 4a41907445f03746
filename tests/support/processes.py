"""Coatcheck's processes as a supervisor would start them, to be killed, frozen and cut off."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from cli.stack.server import ServerCommand, last_lines
from core.settings import Settings
from tests.support.servers import REPOSITORY
from tests.support.waiting import PATIENCE_S, eventually

# Times for tests: a worker's death is noticed after seconds, and a silent connection too.
QUICK = {
    "COATCHECK_WORKER_LEASE_S": "3",
    "COATCHECK_WORKER_HEARTBEAT_S": "0.4",
    "COATCHECK_WORKER_SWEEP_S": "0.3",
    "COATCHECK_WORKER_GRACE_S": "5",
    "COATCHECK_WORKER_LANES": "interactive,default,bulk,maintenance",
    "COATCHECK_WORKER_DATABASE_POOL": "4",
    "COATCHECK_BROKER_SOCKET_TIMEOUT_S": "1",
    "COATCHECK_BROKER_PUBLISH_TIMEOUT_S": "0.5",
    "COATCHECK_REDIS_TIMEOUT_S": "0.5",
    "COATCHECK_DATABASE_CONNECT_TIMEOUT_S": "2",
}


def environment_of(settings: Settings, **changes: str) -> dict[str, str]:
    """The environment of a process that uses what `settings` names, and nothing that a developer has set."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COATCHECK_") and not name.lower().endswith("_proxy")
    }
    assert settings.secret_key is not None
    named = {
        "COATCHECK_DATABASE_URL": settings.database_url,
        "COATCHECK_REDIS_URL": settings.redis_url,
        "COATCHECK_BROKER_URL": settings.broker_url,
        "COATCHECK_CATALOG": str(settings.catalog),
        "COATCHECK_PUBLIC_URL": settings.public_url,
        "COATCHECK_RETENTION_DAYS": str(settings.retention_days),
        "COATCHECK_SECRET_KEY": settings.secret_key.get_secret_value(),
    }
    if settings.simulator_url:
        named["COATCHECK_SIMULATOR_URL"] = settings.simulator_url
    return inherited | QUICK | named | changes


class Running:
    """One process with its log; it dies with the test run, whatever becomes of that."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        command = ServerCommand((sys.executable, "-m", module, *arguments), REPOSITORY).launched("SIGKILL", os.getpid())
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """Ask it to end and return its exit status."""
        self._process.terminate()
        return self._process.wait(timeout_s)

    async def ended(self) -> int:
        """Wait for it to end by itself; its exit status."""

        async def gone() -> bool:
            return not self.alive

        await eventually(gone)
        return self._process.wait()

    def said(self, *words: str) -> bool:
        """Whether one of these stands in its log."""
        text = self.log.read_text(errors="replace")
        return any(word in text for word in words)

    async def says(self, *words: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until one of these stands in its log."""

        async def look() -> bool:
            assert self.said(*words) or self.alive, f"ended; {self.log.name} ends with:\n{last_lines(self.log)}"
            return self.said(*words)

        try:
            await eventually(look, timeout_s)
        except AssertionError:
            raise AssertionError(f"never said {words}; {self.log.name} ends with:\n{last_lines(self.log)}") from None


class Api(Running):
    """`python -m api` on a port of its own."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("api", environment={**environment, "COATCHECK_API_PORT": str(self.port)}, log=log)

    async def ready(self) -> None:
        """Wait until it answers."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:

            async def answers() -> bool:
                assert self.alive, last_lines(self.log)
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(answers)


class Stage:
    """Starts processes that share one set of servers, and ends them all."""

    def __init__(self, settings: Settings, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self._folder = folder
        self._environment = environment or {}
        self._started: list[Running] = []

    async def worker(self, settings: Settings | None = None, *, say: str = "engine_started", **changes: str) -> Running:
        """A worker that has begun to claim; `say` is what its log has to say before. Changes name settings: `grace_s="0"`."""
        worker = self.start_worker(settings, **changes)
        await worker.says(say)
        return worker

    def start_worker(self, settings: Settings | None = None, **changes: str) -> Running:
        """The same without waiting for anything."""
        environment = self._environment_of(settings, "WORKER", changes)
        return self._keep(lambda log: Running("workers", environment=environment, log=log), "worker")

    async def api(self, settings: Settings | None = None, **changes: str) -> Api:
        """An API process that answers."""
        api = self.start_api(settings, **changes)
        await api.ready()
        return api

    def start_api(self, settings: Settings | None = None, **changes: str) -> Api:
        """The same without waiting for anything."""
        environment = self._environment_of(settings, "API", changes)
        api = self._keep(lambda log: Api(environment, log), "api")
        assert isinstance(api, Api)
        return api

    def beat(self, schedule: Path) -> Running:
        """A beat with a schedule file of its own."""
        environment = environment_of(self.settings, COATCHECK_BEAT_SCHEDULE=str(schedule), **self._environment)
        return self._keep(lambda log: Running("workers.beat", environment=environment, log=log), "beat")

    def close(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.alive:
                process.send(signal.SIGCONT)
                process.send(signal.SIGTERM)
        for process in self._started:
            if process.alive:
                try:
                    process.stop(8)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _environment_of(self, settings: Settings | None, prefix: str, changes: Mapping[str, str]) -> dict[str, str]:
        named = {f"COATCHECK_{prefix}_{name.upper()}": value for name, value in changes.items()}
        return environment_of(settings or self.settings, **{**self._environment, **named})

    def _keep(self, start: Callable[[Path], Running], name: str) -> Running:
        process = start(self._folder / f"{name}-{len(self._started)}.log")
        self._started.append(process)
        return process
