"""An embedded Postgres 18 with pgvector, on a Unix socket in a private folder, for one machine and for tests.

    from cli.stack.postgres import EmbeddedPostgres

    server = EmbeddedPostgres(folder)      # any folder; data in folder/postgres, log in folder/logs/postgres.log
    server.start()                         # initdb at the first start (about 1.5 s); later starts about 0.2 s
    server.url                             # "postgresql+asyncpg://coatcheck@/coatcheck?host=<socket folder>"
    server.url_for("other")                # the same for another database (role `coatcheck` may CREATE DATABASE)
    server.admin_url                       # role `postgres`, superuser, database `postgres`
    server.pid                             # the postmaster's process id, or None
    server.stop()                          # "fast"; also stop("smart"), stop("immediate")
    server.kill()                          # SIGKILL the postmaster, as a crash would; start() recovers
    server.start()                         # same data, same URL

Plain and synchronous, usable as a context manager, no supervisor. The server ends with the process (strictly: with the
thread) that started it. `coatcheck` is an ordinary role that may create databases and roles and owns the database
`coatcheck`; pgvector is installed in that database and in `template1`, so every new database has it.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import psutil

from cli.stack.folders import private_folder, socket_folder
from cli.stack.postgres_config import BOOTSTRAP, config_files
from cli.stack.postgres_identity import Isolation, PostgresIdentity, choose_identity
from cli.stack.server import (
    ServerCommand,
    ServerFailed,
    clean_environment,
    end_processes,
    last_lines,
    processes_in,
    start_process,
    wait_gone,
    wait_until,
)

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
PROGRAMS = frozenset({"postgres"})


class EmbeddedPostgres:
    """One Postgres server whose data live in `folder/postgres`. See the module's text for its use."""

    def __init__(self, folder: Path, isolation: Isolation | None = None) -> None:
        self.folder = private_folder(folder.resolve())
        self.log = private_folder(self.folder / "logs") / "postgres.log"
        self.identity: PostgresIdentity = choose_identity(
            self.folder / "postgres", socket_folder(self.folder), isolation
        )
        self.cluster = self.identity.cluster
        self.sockets = self.identity.sockets
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `coatcheck`."""
        return self.url_for("coatcheck")

    @property
    def admin_url(self) -> str:
        """SQLAlchemy URL for the superuser, for tests and repairs."""
        return self.url_for("postgres", role="postgres")

    def url_for(self, database: str, role: str = "coatcheck") -> str:
        """SQLAlchemy URL (asyncpg) of a database of this server."""
        return f"postgresql+asyncpg://{role}@/{quote(database)}?host={self.sockets}"

    @property
    def pid(self) -> int | None:
        """The process id of the living postmaster of this data folder, whoever started it; else None."""
        pid = self._recorded_pid()
        if pid is None or not psutil.pid_exists(pid):
            return None
        return pid if any(process.pid == pid for process in self.leftovers()) else None

    def start(self) -> None:
        """Start and wait until it answers. Raises ServerFailed with the end of the log."""
        self.prepare()
        self._process = start_process(self.command(), self.log)
        process = self._process
        wait_until(lambda: self.is_ready() or process.poll() is not None, 60)
        if process.poll() is not None or not self.is_ready():
            self.kill()
            raise ServerFailed(f"Postgres did not start; {self.log} ends with:\n{last_lines(self.log)}")

    def stop(self, mode: StopMode = "fast", seconds: float = 10.0) -> None:
        """Stop and wait; after `seconds` it is killed. Nothing happens if it does not run."""
        self._end(STOP_SIGNALS[mode], seconds)

    def kill(self) -> None:
        """SIGKILL the postmaster, as a crash would, and wait until its children have noticed and gone."""
        self._end(signal.SIGKILL, 0)

    def prepare(self) -> None:
        """Everything before the start: initdb at the first time, configuration, what a crash left behind.

        Raises ServerFailed if another postmaster runs on this data folder.
        """
        self._clear_after_crash()
        if not (self.cluster / "PG_VERSION").exists():
            self._create_cluster()
        for name, text in config_files(self.sockets, self.identity.peers).items():
            path = self.cluster / name
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                path.chmod(0o600)
                self.identity.own(path)

    def command(self) -> ServerCommand:
        """How to start the prepared server."""
        program = str(self.identity.binaries / "postgres")
        return ServerCommand((program, "-D", str(self.cluster)), Path("/"), self.identity.identity)

    def supervised_command(self) -> ServerCommand:
        """The same for a supervisor's configuration: the data folder comes from PGDATA in the environment."""
        return ServerCommand((str(self.identity.binaries / "postgres"),), Path("/"), self.identity.identity)

    def is_ready(self) -> bool:
        """True when the postmaster says that it accepts connections (the eighth line of its pid file)."""
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def leftovers(self) -> list[psutil.Process]:
        """Living Postgres processes of this data folder, the postmaster first."""
        return processes_in(self.cluster, PROGRAMS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals, seconds: float) -> None:
        family = self.leftovers()
        end_processes(family[:1], how, seconds)
        if not wait_gone(family[1:], 2):
            end_processes(family[1:], signal.SIGKILL, 0)
        if self._process is not None:
            self._process.wait(timeout=10)
            self._process = None

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _recorded_pid(self) -> int | None:
        lines = self._pid_file_lines()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def _clear_after_crash(self) -> None:
        """Postgres would refuse a pid file whose number another program has now; a living server of ours is kept."""
        if self._recorded_pid() is None:
            return
        if (pid := self.pid) is not None:
            raise ServerFailed(f"Postgres already runs on {self.cluster} (process {pid})")
        end_processes(self.leftovers(), signal.SIGKILL, 0)
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        """Run initdb into a draft folder that gets its name only when it is complete."""
        draft = self.cluster.with_name(f"{self.cluster.name}.draft")
        if draft.exists():
            shutil.rmtree(draft)
        # Nothing to lose before the first start, hence no-sync. The builtin locale needs no ICU and no OS locale.
        options = ("--no-sync", "--no-instructions", "--auth=peer", "--encoding=UTF8")
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        self._run(str(self.identity.binaries / "initdb"), "-D", str(draft), "-U", "postgres", *options, *locale)
        single = (str(self.identity.binaries / "postgres"), "--single", "-D", str(draft), "-F", "template1")
        self._run(*single, stdin=BOOTSTRAP)
        os.sync()
        draft.rename(self.cluster)

    def _run(self, *argv: str, stdin: str = "") -> None:
        command = ServerCommand(argv, Path("/"), self.identity.identity).launched()
        done = subprocess.run(
            command,
            cwd="/",
            env={**clean_environment(), "LC_ALL": "C"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            raise ServerFailed(f"{Path(argv[0]).name} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
