import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack.lock import StackHeld, StackLock, current_holder


def test_the_second_taker_learns_who_holds_it(folder: Path) -> None:
    lock = StackLock(folder).acquire()
    lock.tell("http://127.0.0.1:8000")
    with pytest.raises(StackHeld) as held:
        StackLock(folder).acquire()
    assert held.value.holder is not None
    assert held.value.holder.pid == os.getpid()
    assert "since" in str(held.value) and "http://127.0.0.1:8000" in str(held.value)
    lock.release()
    assert current_holder(folder) is None


def test_a_killed_holder_holds_nothing(folder: Path) -> None:
    script = (
        "import os, pathlib, signal, sys; from cli.stack.lock import StackLock\n"
        "StackLock(pathlib.Path(sys.argv[1])).acquire().tell('http://x')\n"
        "print('held', flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False, cwd=Path.cwd())
    assert current_holder(folder) is None
    StackLock(folder).acquire().release()


def test_a_holder_that_has_not_told_yet_is_seen(folder: Path) -> None:
    lock = StackLock(folder).acquire()
    assert current_holder(folder) is not None
    lock.release()
