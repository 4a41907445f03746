"""What the load generator is told to do, and how it is started."""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.figures import median, percentile, rate_between

_LIMIT_S = 180.0


@dataclass(frozen=True, slots=True)
class Order:
    """One run of the load generator.

    Attributes:
        way: ``post``: all clients post in closed loops. The others: one client, one job after the other, until its result is
            there: ``prefer`` (POST with Prefer: wait), ``long_poll`` (POST, then GET ?wait=), ``poll`` (POST, then GET every
            millisecond), ``plain`` (any POST answered with 200).
        bodies: sent in turn.
        seconds: how long to post; ``requests``: how many to send at most (0: no limit).
    """

    way: Literal["post", "prefer", "long_poll", "poll", "plain"]
    host: str
    port: int
    path: str
    bodies: list[str] = field(repr=False)
    key: str | None = field(default=None, repr=False)
    clients: int = 1
    seconds: float = 3600.0
    requests: int = 0
    prefer_wait: int = 0
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Posted:
    """What a run of ``post`` saw: rates of accepted requests in equal windows, latencies, and what went wrong."""

    rates: list[float]
    latencies_ms: list[float]
    accepted: int
    failures: int
    generator_cpu: float

    @property
    def rate(self) -> float:
        """The middle window's rate, in requests per second."""
        return median(self.rates)

    @property
    def p50(self) -> float:
        return median(self.latencies_ms)

    @property
    def p99(self) -> float:
        return percentile(self.latencies_ms, 0.99)


def run(order: Order) -> dict[str, Any]:
    """Run the generator in a process of its own.

    Raises:
        RuntimeError: when it fails; the message holds what it printed.
        subprocess.TimeoutExpired: after three minutes.
    """
    # A file and not a pipe: hundreds of kilobytes written at a process's very end have been seen cut off in a pipe.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=json.dumps(asdict(order)),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-2000:]}")
        output.seek(0)
        told: dict[str, Any] = json.load(output)
    return told


def windows_of(answered: list[float], warm_up: float, end: float, windows: int) -> list[float]:
    """Return the rates (per second) in equal windows between ``warm_up`` and ``end``."""
    width = (end - warm_up) / windows
    counts = [0] * windows
    for moment in answered:
        if warm_up <= moment < end:
            counts[min(windows - 1, int((moment - warm_up) / width))] += 1
    return [rate_between(0, width, count) for count in counts]


def run_post(order: Order, *, accepted_status: int = 202, warm_up: float = 0.0, windows: int = 1) -> Posted:
    """Run ``post`` and sum it up; the rate leaves out the first ``warm_up`` seconds."""
    told = run(order)
    accepted = int(told["statuses"].get(str(accepted_status), 0))
    failures = sum(told["statuses"].values()) - accepted
    if failures:
        sys.stderr.write(f"unexpected answers: {told['statuses']} {told['last_body']}\n")
    end = min(order.seconds, told["seconds"])
    return Posted(
        windows_of(told["answered"], min(warm_up, end / 4), end, windows),
        told["latencies_ms"],
        accepted,
        failures,
        told["own_cpu_share"],
    )
