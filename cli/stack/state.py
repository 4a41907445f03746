"""What the stack keeps in its data directory: secrets that outlive it, and stack.json while it is ready."""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli.stack.folders import write_private

# The tenant of the stack's own key.
OWN_TENANT = "default"


@dataclass(slots=True)
class Secrets:
    """Kept in `secrets.json` from the first start on, so that keys go on working and stored secrets stay readable."""

    secret_key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(32)).decode())
    flower_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    api_key: str | None = None
    webhook_secret: str | None = None

    @classmethod
    def load(cls, root: Path) -> "Secrets":
        """Read them; at the first start make them. Raises ValueError if the file is damaged."""
        path = root / "secrets.json"
        if not path.exists():
            made = cls()
            made.save(root)
            return made
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            raise ValueError(f"{path} is damaged; restore it, or remove the data directory to start anew") from None

    def save(self, root: Path) -> None:
        """Write the file, readable by this user only."""
        write_private(root / "secrets.json", json.dumps(asdict(self), indent=2) + "\n")


@dataclass(slots=True)
class Pids:
    """Process ids of the stack's parts; None or an empty list for parts that run elsewhere."""

    api: list[int] = field(default_factory=list)
    worker: list[int] = field(default_factory=list)
    beat: int | None = None
    flower: int | None = None
    postgres: int | None = None
    redis: int | None = None


@dataclass(slots=True)
class StackFile:
    """The content of `stack.json`: it exists exactly while the stack is ready."""

    api_url: str
    api_key: str
    webhook_secret: str | None
    flower_url: str
    metrics_url: str
    database_url: str
    redis_url: str
    broker_url: str
    pids: Pids

    def save(self, root: Path) -> None:
        """Write the file, readable by this user only. A webhook secret that was renewed in it meanwhile stays."""
        with _changing(root):
            if (shown := read_stack_file(root)) is not None:
                self.webhook_secret = shown.get("webhook_secret")
            _write_stack_file(root, asdict(self))


def renew_webhook_secret(root: Path, secret: str) -> None:
    """The own tenant has a new webhook secret: keep it, and show it in stack.json if the stack is ready."""
    with _changing(root):
        kept = Secrets.load(root)
        kept.webhook_secret = secret
        kept.save(root)
        if (content := read_stack_file(root)) is not None:
            _write_stack_file(root, content | {"webhook_secret": secret})


def read_stack_file(root: Path) -> dict[str, Any] | None:
    """The content of the data directory's stack.json, or None if no stack is ready there."""
    try:
        content = json.loads((root / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def forget_stack_file(root: Path) -> None:
    """The stack is no longer ready."""
    with _changing(root):
        (root / "stack.json").unlink(missing_ok=True)


def _write_stack_file(root: Path, content: dict[str, Any]) -> None:
    write_private(root / "stack.json", json.dumps(content, indent=2) + "\n")


@contextmanager
def _changing(root: Path) -> Iterator[None]:
    """One writer at a time: `up` writes process ids while another command may be renewing a secret."""
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
