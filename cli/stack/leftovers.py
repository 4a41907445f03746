"""Finding and ending what an earlier stack of a data directory left running, for example after a `kill -9`."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

from cli.stack.folders import fits_sockets, remove_socket_folder
from cli.stack.postgres_identity import foreign_sockets
from cli.stack.server import end_processes, is_alive, processes_in, wait_gone

# Set in the environment of supervisord and so of all its children: process ids get reused, this does not.
MARK = "COATCHECK_STACK_DIR"
SOCKET_NAMES = ("sv.sock", "supervisord.pid", "redis.sock", ".s.PGSQL.5432", ".s.PGSQL.5432.lock")


def leftover_processes(root: Path) -> list[psutil.Process]:
    """Living processes of the data directory's stack, servers last."""
    marked = [process for process in psutil.process_iter() if _belongs(process, root)]
    servers = _servers(root)
    known = {process.pid for process in servers}
    return [process for process in marked if process.pid not in known and is_alive(process)] + servers


def end_leftovers(root: Path, seconds: float = 15.0) -> int:
    """End what is left, in order if its supervisor still lives, and remove its sockets; the number of processes found.

    Postgres gets a fast shutdown; whatever does not go within the time is killed.
    """
    deadline = time.monotonic() + seconds
    found = leftover_processes(root)
    supervisors = [process for process in found if _is_supervisor(process)]
    for process in supervisors:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    if supervisors:
        wait_gone(found, max(0.0, deadline - time.monotonic() - 3))
    servers = _servers(root)
    known = {process.pid for process in servers}
    end_processes([process for process in leftover_processes(root) if process.pid not in known], signal.SIGTERM, 2)
    for process in servers:
        end_processes([process], signal.SIGINT, max(1.0, deadline - time.monotonic()))
    _remove_sockets(root)
    return len(found)


def _belongs(process: psutil.Process, root: Path) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get(MARK) == str(root)
    except (psutil.Error, OSError):
        return False


def _is_supervisor(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "supervisor.supervisord" in process.cmdline()
    return False


def _servers(root: Path) -> list[psutil.Process]:
    """Redis and the postmaster: both change their environment or title, so their working folders tell."""
    cluster = root / "postgres"
    if (note := root / "postgres.path").exists():
        cluster = Path(note.read_text().strip()) / "data"
    redis = processes_in(root / "redis", frozenset({"redis-server", "valkey-server"}))
    return redis + processes_in(cluster, frozenset({"postgres"}))[:1]


def _remove_sockets(root: Path) -> None:
    folders = [root / "run"] if fits_sockets(root / "run") else []
    if (note := root / "run.path").exists():
        folders.append(Path(note.read_text().strip()))
    if (foreign := foreign_sockets(root)) is not None:
        folders.append(foreign)
    for folder in folders:
        for name in SOCKET_NAMES:
            (folder / name).unlink(missing_ok=True)
    remove_socket_folder(root)
