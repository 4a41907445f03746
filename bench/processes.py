"""Processes under measurement: started with a log, asked for their memory and CPU, stopped for sure."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil


class DidNotStart(Exception):
    """A process ended early or did not get ready; the message holds the end of its log."""


class Process:
    """A Python program of this installation, in a session of its own; use as a context manager.

    Args:
        arguments: what follows `python`.
        environment: the whole environment.
        log: where its output goes.
        ready: tells whether it can be used; None when nothing needs to be waited for.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._process = psutil.Process(self._child.pid)
        if ready is not None:
            self._wait(ready)

    def _wait(self, ready: Callable[[], bool], seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DidNotStart(f"{self.log} ends with:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._child.pid

    def resident_mb(self) -> float:
        """Resident memory in MB (10**6 bytes, as the issue counts it more strictly than MiB would)."""
        return float(self._process.memory_info().rss) / 1e6

    def cpu_s(self) -> float:
        """CPU seconds of this process and all below it, those included that have come and gone in between."""
        total = 0.0
        for process in [self._process, *self._process.children(recursive=True)]:
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> None:
        """End it, and what it left in its session."""
        if self._child.poll() is None:
            self._child.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def kill(self) -> None:
        """End it at once, jobs and all."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
