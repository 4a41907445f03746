"""`coatcheck down`: stopping a stack from outside, whatever state it is in."""

import contextlib
import os
import signal
from pathlib import Path

import psutil

from cli.stack.leftovers import end_leftovers
from cli.stack.lock import current_holder
from cli.stack.server import wait_until
from cli.stack.state import forget_stack_file
from cli.wording import counted

HOLDER_SECONDS = 16.0


def stop_stack(root: Path) -> str:
    """Stop the stack of a data directory and return one sentence about it."""
    holder = current_holder(root)
    if holder is not None and holder.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(holder.pid, signal.SIGTERM)
        if wait_until(lambda: current_holder(root) is None, HOLDER_SECONDS, pause=0.1):
            return f"stopped; the data stay in {root}"
        _kill(holder.pid)
    count = end_leftovers(root)
    forget_stack_file(root)
    if holder is None and count == 0:
        return f"nothing is running in {root}"
    return f"stopped what was left ({counted(count, 'process', 'processes')}); the data stay in {root}"


def _kill(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        process.wait(5)
