"""The demo's stack: what `coatcheck up` starts, in a temporary folder, watched in the background and thrown away."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.demo.show import Show
from cli.errors import CliError
from cli.stack.folders import is_private, private_folder
from cli.stack.leftovers import end_leftovers
from cli.stack.lock import StackLock, current_holder
from cli.stack.plan import UpOptions, make_plan
from cli.stack.run import Stack
from cli.stack.server import last_lines

# Local models only, so that the simulator joins whatever the user's own catalog lists. The limit of local/embed is raised
# from one job a core: here a claim may take what waits, which shows how batches fill.
CATALOG = """\
[[deployments]]
model = "local/embed"
provider = "local"
endpoints = ["/v1/embeddings"]
max_concurrency = 256

[[deployments]]
model = "local/summarize"
provider = "local"

[[deployments]]
model = "local/keypoints"
provider = "local"
"""

# A dead worker's jobs are taken over after 3 s instead of 15, so that the demo needn't wait. No worker has room for all 500
# jobs of the last step, so that both have some.
SETTINGS = {
    "COATCHECK_WORKER_LEASE_S": "3",
    "COATCHECK_WORKER_HEARTBEAT_S": "0.5",
    "COATCHECK_WORKER_SWEEP_S": "0.5",
    "COATCHECK_WORKER_GRACE_S": "1",
    "COATCHECK_WORKER_MAX_IN_FLIGHT": "400",
}
_PREFIX = "coatcheck-demo-"
_STARTING_S = 60.0
_LOOK_S = 0.25
_TOLD_LINES = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """A running throw-away stack."""

    stack: Stack

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return self.stack.plan.api_url

    @property
    def api_key(self) -> str:
        """A key with every scope."""
        return self.stack.plan.secrets.api_key or ""

    @property
    def webhook_secret(self) -> str:
        """What signs webhooks to the URLs named in jobs."""
        return self.stack.plan.secrets.webhook_secret or ""

    @property
    def simulator_url(self) -> str:
        """Where the simulator is."""
        return f"http://127.0.0.1:{self.stack.plan.simulator_port}"

    def busiest_worker(self) -> int:
        """The process id of the worker with the most connections to the simulator."""
        port = self.stack.plan.simulator_port
        return max(self.stack.watch.pids().worker, key=lambda pid: _connections(pid, port))

    def logs(self) -> list[str]:
        """The end of each log that may say what went wrong."""
        logs = self.stack.plan.root / "logs"
        found = sorted([*logs.glob("api*.log"), *logs.glob("worker*.log")])
        return [f"{path.name} ends with:\n{last_lines(path, _TOLD_LINES)}" for path in found]


@contextmanager
def throw_away_stack(show: Show) -> Iterator[Stage]:
    """Start a stack in a temporary folder; at the end, however it comes, stop it and remove the folder.

    Raises what starting a stack raises: ServerFailed, PortTaken, FolderRefused, CliError.
    """
    _forget_other_stacks()
    _remove_killed_demos()
    os.environ |= SETTINGS
    os.umask(0o077)
    root = private_folder(Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve())
    try:
        with _running(root, show) as stage:
            yield stage
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if root.exists():
            raise CliError(f"{root} could not be removed completely; please remove it")


@contextmanager
def _running(root: Path, show: Show) -> Iterator[Stage]:
    catalog = root / "catalog.toml"
    catalog.write_text(CATALOG)
    options = UpOptions(root, 0, port_wanted=False, workers=2, api_workers=1, catalog=catalog, simulate=True)
    lock = StackLock(root).acquire()
    stack = Stack(make_plan(options), show)
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(stack, over), name="demo-watch", daemon=True)
    try:
        stack.start()
        watcher.start()
        yield Stage(stack)
    finally:
        # Stopping takes a few seconds; a second Ctrl-C would only leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        over.set()
        if watcher.is_alive():
            watcher.join()
        show.quiet = True
        stack.stop()
        lock.release()


def _connections(pid: int, port: int | None) -> int:
    connections = psutil.Process(pid).net_connections("tcp")
    return sum(connection.raddr[1:] == (port,) and connection.status == "ESTABLISHED" for connection in connections)


def _watch(stack: Stack, over: threading.Event) -> None:
    while not over.wait(_LOOK_S):
        stack.watch.look()


def _remove_killed_demos() -> None:
    """A demo that was killed (kill -9) could not clean up; the next one does."""
    for folder in Path(tempfile.gettempdir()).resolve().glob(f"{_PREFIX}*"):
        # One that is just starting has no lock yet.
        if is_private(folder) and folder.stat().st_mtime < time.time() - _STARTING_S and current_holder(folder) is None:
            end_leftovers(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _forget_other_stacks() -> None:
    """What is exported for a stack of one's own must not reach this one, least of all its database."""
    for name in [name for name in os.environ if name.startswith(("COATCHECK_", "FLOWER_"))]:
        del os.environ[name]
