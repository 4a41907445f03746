"""What the embedded Postgres and Redis have in common: starting, finding, and ending a server process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

LAUNCH = Path(__file__).with_name("launch.py")


class ServerFailed(Exception):
    """A server did not start or stop; the message holds the end of its log and what to do."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How to start a server.

    `identity` is `-` (as we are), `shown:UID` (in a user namespace) or `as:UID:GID` (root gives up its rights);
    see launch.py.
    """

    argv: tuple[str, ...]
    folder: Path
    identity: str = "-"

    def launched(self, death_signal: str = "-", parent: int = 0) -> list[str]:
        """The arguments that start it through launch.py, to end on `death_signal` when `parent` dies."""
        return [sys.executable, "-I", "-S", str(LAUNCH), self.identity, death_signal, str(parent), *self.argv]


def start_process(command: ServerCommand, log: Path) -> subprocess.Popen[bytes]:
    """Start the server with its output appended to `log`; it ends when this process does."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command.launched("SIGINT", os.getpid()),
            cwd=command.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def clean_environment() -> dict[str, str]:
    """The environment without the variables that would redirect a Postgres program elsewhere (PGPORT, PGDATA, …)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def processes_in(folder: Path, names: frozenset[str]) -> list[psutil.Process]:
    """Living processes with one of these program names whose working directory is `folder`, parents first."""
    found = [process for process in _named(names) if _works_in(process, folder)]
    return sorted(found, key=lambda process: process.create_time())


def _named(names: frozenset[str]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.exe()).name in names and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False


def wait_until(ready: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Ask `ready` again and again; False if it was not so within the time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def end_processes(processes: list[psutil.Process], first: signal.Signals, seconds: float) -> None:
    """Send the signal, wait, and kill what is left."""
    _signal(processes, first)
    if not wait_gone(processes, seconds):
        _signal(processes, signal.SIGKILL)
        wait_gone(processes, 5)


def wait_gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Wait for the processes' end. A dead process that its parent has not collected yet counts as gone."""
    return wait_until(lambda: not any(is_alive(process) for process in processes), seconds, pause=0.01)


def is_alive(process: psutil.Process) -> bool:
    """True while the process runs; False when it is a zombie or its number belongs to another process."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log file, for error messages."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-count:])
