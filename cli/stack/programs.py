"""The programs of the stack as a supervisord configuration.

Paths chosen by the user and all secrets reach the programs through the environment, never through this file or a
command line: ini syntax can't hold every path, and command lines are visible to other users.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.stack.server import ServerCommand


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program. supervisord stops the highest `priority` first and waits for it.

    A program that ends within `start_seconds` has not started: it is tried again after growing pauses, `retries` times.
    One that ends later is restarted at once.
    """

    name: str
    command: ServerCommand
    priority: int
    stop_signal: str = "TERM"
    stop_seconds: int = 2
    processes: int = 1
    start_seconds: int = 1
    retries: int = 3

    def section(self) -> str:
        """Its part of the configuration."""
        death_signal = f"SIG{self.stop_signal}"
        command = " ".join(shlex.quote(word).replace("%", "%%") for word in self.command.launched(death_signal))
        number = "-%(process_num)d" if self.processes > 1 else ""
        return "\n".join(
            [
                f"[program:{self.name}]",
                f"command={command}",
                f"process_name={self.name}{number}",
                f"numprocs={self.processes}",
                f"priority={self.priority}",
                "autostart=false",
                "autorestart=true",
                f"startsecs={self.start_seconds}",
                f"startretries={self.retries}",
                f"stopsignal={self.stop_signal}",
                f"stopwaitsecs={self.stop_seconds}",
                "killasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile=logs/{self.name}{number}.log",
                "stdout_logfile_maxbytes=10MB",
                "stdout_logfile_backups=2",
                "",
            ]
        )


def python(*arguments: str) -> ServerCommand:
    """A Python program of this installation; its working directory is the supervisor's."""
    return ServerCommand((sys.executable, *arguments), Path())


def supervisord_config(programs: Sequence[Program], sockets: Path, open_files: int) -> str:
    """The whole configuration; relative paths count from the data directory, where supervisord starts."""
    head = f"""\
; Written by `coatcheck up` at every start.
[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={sockets}/supervisord.pid
childlogdir=logs
nodaemon=true
silent=true
nocleanup=true
identifier=coatcheck
minfds={open_files}
minprocs=1

[unix_http_server]
file={sockets}/sv.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

"""
    return head + "\n".join(program.section() for program in programs)
