"""Free TCP ports."""

import errno
import socket


class PortTaken(Exception):
    """The port that was asked for is in use or not allowed."""


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise PortTaken(f"cannot listen on {host}: {error.strerror}") from None
    return True


def any_free(host: str) -> int:
    """A port that is free now, chosen by the system."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def choose(host: str, wanted: int, *, insist: bool) -> int:
    """`wanted` if it is free, else another one; with `insist` a taken port raises PortTaken. 0 is any free port."""
    if wanted == 0:
        return any_free(host)
    if is_free(host, wanted):
        return wanted
    if insist:
        raise PortTaken(f"port {wanted} is in use (or not allowed); choose another with --port, or leave --port out")
    for port in range(wanted + 1, wanted + 20):
        if is_free(host, port):
            return port
    return any_free(host)
