"""One holder for each data directory: a file lock that the kernel releases however its holder ends."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs the stack of a data directory."""

    pid: int
    since: str
    api_url: str

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}, API {self.api_url}"


class StackHeld(Exception):
    """Another `coatcheck up` runs on this data directory."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "a stack that is just starting"))
        self.holder = holder


class StackLock:
    """The lock of a data directory; held from `acquire` to `release` or to the process's end."""

    def __init__(self, root: Path) -> None:
        self.path = root / "stack.lock"
        self._handle: int | None = None

    def acquire(self) -> Self:
        """Take the lock. Raises StackHeld."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise StackHeld(self._recorded()) from None
        self._handle = handle
        return self

    def tell(self, api_url: str) -> None:
        """Write down who holds the lock, for those who find it taken."""
        if self._handle is None:
            raise RuntimeError("the lock is not held")
        since = datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds")
        text = json.dumps(asdict(Holder(os.getpid(), since, api_url)))
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text.encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def _recorded(self) -> Holder | None:
        try:
            return Holder(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def current_holder(root: Path) -> Holder | None:
    """Who holds the data directory now; None if nobody does."""
    if not (root / "stack.lock").exists():
        return None
    lock = StackLock(root)
    try:
        lock.acquire()
    except StackHeld as held:
        return held.holder or Holder(0, "just now", "not known yet")
    lock.release()
    return None
