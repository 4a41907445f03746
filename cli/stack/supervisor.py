"""Starting supervisord and talking to it over its Unix socket."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from cli.stack.folders import write_private
from cli.stack.programs import Program, supervisord_config
from cli.stack.server import LAUNCH, ServerFailed, last_lines, wait_until

MOST_OPEN_FILES = 16384


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One supervised process as supervisord sees it."""

    name: str
    group: str
    pid: int
    state: str
    problem: str


class Supervisor:
    """A supervisord that runs the stack's programs and ends them in order when it gets SIGTERM or this process dies."""

    def __init__(self, root: Path, sockets: Path, programs: Sequence[Program]) -> None:
        self.root = root
        self.log = root / "logs" / "supervisord.log"
        self._socket = sockets / "sv.sock"
        self._programs = programs
        self._sockets = sockets
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = (-1, -1)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start supervisord, with no program running yet. Raises ServerFailed."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
        config = self.root / "supervisord.conf"
        write_private(config, supervisord_config(self._programs, self._sockets, open_files))
        self._socket.unlink(missing_ok=True)
        launch = [sys.executable, "-I", "-S", str(LAUNCH), "-", "SIGTERM", str(os.getpid())]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*launch, sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
                cwd=self.root,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if not wait_until(lambda: self._socket.exists() or not self.is_alive(), 10) or not self.is_alive():
            raise ServerFailed(f"supervisord did not start; {self.log} ends with:\n{last_lines(self.log)}")

    def is_alive(self) -> bool:
        """Whether supervisord runs."""
        return self._process is not None and self._process.poll() is None

    def start_program(self, name: str) -> None:
        """Start a program's processes without waiting for them. Raises ServerFailed."""
        try:
            with self._rpc() as supervisor:
                supervisor.startProcessGroup(name, False)
        except (xmlrpc.client.Fault, OSError) as error:
            raise ServerFailed(f"{name} can't be started: {error}") from None

    def states(self) -> list[ProcessState]:
        """All processes; empty when supervisord doesn't answer."""
        try:
            with self._rpc() as supervisor:
                infos = cast("list[dict[str, Any]]", supervisor.getAllProcessInfo())
        except (xmlrpc.client.Fault, OSError):
            return []
        return [
            ProcessState(info["name"], info["group"], info["pid"], info["statename"], info["spawnerr"])
            for info in infos
        ]

    def something_happened(self) -> bool:
        """True if supervisord has logged since the last call: cheaper than asking it every time."""
        try:
            found = self.log.stat()
        except OSError:
            return True
        seen = (found.st_ino, found.st_size)
        changed = seen != self._seen
        self._seen = seen
        return changed

    def stop(self, seconds: float) -> bool:
        """Have everything stopped in order; False if that took longer than `seconds`."""
        if self._process is None:
            return True
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
        in_time = wait_until(self._is_gone, seconds, pause=0.05)
        if not in_time:
            self._process.kill()
        self._process.wait(timeout=5)
        return in_time

    def _is_gone(self) -> bool:
        """Whether supervisord has ended. Knocking at its door wakes it: by itself it takes a second for every group."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
            door.settimeout(0.5)
            door.connect(str(self._socket))
        return not self.is_alive()

    @contextlib.contextmanager
    def _rpc(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        try:
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
        finally:
            transport.close()
