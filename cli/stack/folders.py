"""The data directory and the private folder for Unix sockets."""

import os
import secrets
import string
import tempfile
from pathlib import Path

# Linux allows 107 bytes for a socket's path, macOS 103; the longest name we add is supervisord's "/sv.sock.4194304".
LONGEST_SOCKET_FOLDER = 103 - 16
# Socket paths travel in URLs; anything else would need quoting that not every client understands alike.
PLAIN = frozenset(string.ascii_letters + string.digits + "/._-")


class FolderRefused(Exception):
    """A folder can't be used safely; the message says why and what to do."""


def private_folder(path: Path) -> Path:
    """Make the folder (mode 0700) if it is missing and check that nobody else can enter it.

    Missing parents are made with the user's umask; existing ones are never touched. Raises FolderRefused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise FolderRefused(f"{path} exists and is not a folder") from None
    if not is_private(path):
        if path.stat().st_uid != os.geteuid():
            raise FolderRefused(f"{path} belongs to another user; choose another --data-dir")
        path.chmod(0o700)
    return path


def is_private(path: Path) -> bool:
    """True for a real folder (no link) of this user that nobody else may enter."""
    try:
        found = path.lstat()
    except OSError:
        return False
    is_folder = found.st_mode & 0o170000 == 0o040000
    return is_folder and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def fits_sockets(path: Path) -> bool:
    """True if sockets in this folder have paths short and plain enough for every client."""
    text = str(path)
    return len(os.fsencode(text)) <= LONGEST_SOCKET_FOLDER and set(text) <= PLAIN


def socket_folder(root: Path) -> Path:
    """The private folder for the sockets of the data directory `root`: the same one at every call.

    Usually `root/run`; when that path is too long or not plain, a fresh folder under XDG_RUNTIME_DIR or the temporary
    folder, which only this user can enter and whose path is kept in `root/run.path`.
    """
    inside = root / "run"
    if fits_sockets(inside):
        return private_folder(inside)
    note = root / "run.path"
    if note.exists():
        kept = Path(note.read_text().strip())
        if is_private(kept) and fits_sockets(kept):
            return kept
    made = _folder_elsewhere()
    note.write_text(f"{made}\n")
    return made


def remove_socket_folder(root: Path) -> None:
    """Remove an emptied socket folder that lies outside of the data directory."""
    note = root / "run.path"
    if note.exists():
        kept = Path(note.read_text().strip())
        if is_private(kept) and not any(kept.iterdir()):
            kept.rmdir()
            note.unlink()


def _folder_elsewhere() -> Path:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and is_private(runtime):
        candidate = runtime / f"coatcheck-{secrets.token_hex(4)}"
        if fits_sockets(candidate):
            candidate.mkdir(mode=0o700)
            return candidate
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - mkdtemp makes a folder that only we can enter
        if fits_sockets(parent / "coatcheck-xxxxxxxx"):
            return Path(tempfile.mkdtemp(prefix="coatcheck-", dir=parent))
    raise FolderRefused("no short, private folder for Unix sockets; choose a shorter --data-dir or set XDG_RUNTIME_DIR")


def write_private(path: Path, text: str) -> None:
    """Replace the file's content in one step; it is readable by this user only from its first moment on."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    draft.replace(path)
