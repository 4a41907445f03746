"""A real RabbitMQ, where Debian's package (or any other with `rabbitmq-server`) is installed."""

import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from cli.stack.server import last_lines
from tests.support.waiting import soon

_FOLDERS = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/rabbitmq/sbin")
_START_S = 60.0


def find_rabbitmq() -> Path | None:
    """The server's start script, not the wrapper that insists on a user `rabbitmq`."""
    path = os.pathsep.join((*_FOLDERS, os.environ.get("PATH", "")))
    found = shutil.which("rabbitmq-server", path=path)
    return Path(found) if found else None


class RabbitMQ:
    """One broker on loopback with a data folder of its own; it may be killed and started again.

    Args:
        script: `rabbitmq-server`.
        folder: for its data, logs and cookie.
    """

    def __init__(self, script: Path, folder: Path) -> None:
        self.port, dist, epmd = _free_port(), _free_port(), _free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._script = script
        self._log = folder / "rabbitmq.log"
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\n"
        )
        (folder / "plugins").write_text("[].\n")
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "RABBITMQ_NODENAME": "coatcheck@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(dist),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        # Left to itself, Erlang starts its name server in the background, where it outlives everybody.
        self._names = subprocess.Popen(
            [shutil.which("epmd") or "epmd"], env=self._environment, stdin=subprocess.DEVNULL
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._script)], env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        soon(self._answers, _START_S)

    def kill(self) -> None:
        """End it as a crash would. The script's child is the server, so both go."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it and Erlang's name server."""
        self.kill()
        self._names.kill()
        self._names.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"RabbitMQ ended; its log ends with:\n{last_lines(self._log)}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
