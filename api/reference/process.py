"""What a process tells of itself."""

from typing import Final

from api.reference.pieces import TEXT, Operation, answer
from api.schemas import answers as a

PROCESS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/"): ("Start", "Where things are.", [], None, {200: answer("The addresses.", a.Home)}, ()),
    ("GET", "/healthz"): ("Liveness", "Whether the process answers.", [], None, {200: answer("It does.", a.Alive)}, ()),
    ("GET", "/readyz"): (
        "Readiness",
        ("Whether jobs are accepted: 503 only without Postgres, or when this process can't store jobs any more. `degraded` names "
        "what else is missing."),
        [],
        None,
        {200: answer("Ready.", a.Ready)},
        (),
    ),
    ("GET", "/metrics"): (
        "Metrics",
        "Prometheus metrics of all processes. From this machine without a key, from elsewhere with the scope `admin`.",
        [],
        None,
        {200: {"description": "The page.", "content": {"text/plain": {"schema": TEXT}}}},
        (401, 403),
    ),
}  # fmt: skip
