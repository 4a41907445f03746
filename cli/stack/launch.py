"""Start one program with a death signal and, if asked, in a user namespace of its own or as another user.

Run as a script, by path, with the standard library only: it is the first thing in every server's life and must start in
a few milliseconds. It replaces itself by the program, so the process id stays the same.

Postgres refuses to run as uid 0. In a user namespace the caller's uid carries another number: Postgres sees an ordinary
user, while for the rest of the machine files and processes still belong to the caller, and no folder has to be opened.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def enter_user_namespace(uid: int) -> None:
    """Show the present user and group as `uid` to this process and its children. Raises OSError if not allowed."""
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outside_uid} 1\n")
    Path("/proc/self/gid_map").write_text(f"{uid} {outside_gid} 1\n")


def die_with(parent: int, signal_number: int) -> None:
    """Have the kernel send the signal when the parent dies; `parent` 0 means: whoever it is.

    Linux only; elsewhere nothing happens, and `down` finds what is left.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if parent and os.getppid() != parent:  # it died before we asked
        sys.exit(1)


def become(uid: int, gid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """`launch.py IDENTITY SIGNAL PARENT PROGRAM ARGUMENTS…`; a dash switches an option off.

    IDENTITY is `as:UID:GID` (root becomes that user) or `shown:UID` (a user namespace).
    """
    identity, death_signal, parent, *program = arguments
    kind, *numbers = identity.split(":")
    if kind == "as":
        become(int(numbers[0]), int(numbers[1]))
    elif kind == "shown":
        enter_user_namespace(int(numbers[0]))
    if death_signal != "-":  # after the identity: a change of credentials forgets the death signal
        die_with(int(parent), signal.Signals[death_signal].value)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
