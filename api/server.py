"""How uvicorn runs the application."""

import gc
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from api.app import create_app
from api.application import Application
from api.edge.protocol import EdgeProtocol
from core.settings import Settings
from core.telemetry.logs import configure_logs

KEEP_ALIVE_S = 75  # above the idle time of common load balancers, so that they close first


def config(app: "Callable[..., Any] | str", *, grace_s: float, factory: bool = False, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration: our protocol, no access log, no guessing of client addresses.

    Args:
        app: the application or the import string of its factory.
        grace_s: seconds that open requests get at shutdown.
        factory: whether `app` makes the application.
        options: more of uvicorn's options.
    """
    return uvicorn.Config(
        app,
        factory=factory,
        http=EdgeProtocol,
        ws="none",
        loop="uvloop",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        log_level="error",  # below that it tells of every malformed request: noise that a stranger controls
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
        backlog=4096,
        **options,
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a TCP socket bound to `host` and `port`, inheritable by child processes.

    Raises:
        OSError: when the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.set_inheritable(True)
    return listener


def make_app() -> Application:
    """Return the application of a process that serves nothing else: logs are set up, memory is settled."""
    configure_logs(Settings(), "api")
    app = create_app()
    # Requests leave hardly any cycles, but each allocates enough to have all modules and schemas searched for some, over and
    # over: a seventh of the time of a POST. What is there by now stays for good.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return app
