"""A running simulator: a process of its own on a free port of loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]


class RunningSimulator:
    """Steer it with `control`, ask it with `stats`, wait for it with `wait_for`."""

    def __init__(self, url: str, process: "subprocess.Popen[str]") -> None:
        self.url = url
        self.process = process
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=70)

    def control(self, **changes: Any) -> dict[str, Any]:
        """`POST /control`: change a model's behaviour, `clear=True`, `reset_stats=True`, `release=True`."""
        answer: dict[str, Any] = self._client.post("/control", json=changes).raise_for_status().json()
        return answer

    def stats(self, **query: Any) -> dict[str, Any]:
        """`GET /stats`; with `min_in_flight=1, wait_s=5` and the like it answers once that is so."""
        answer: dict[str, Any] = self._client.get("/stats", params=query).raise_for_status().json()
        return answer

    def wait_for(self, wait_s: float = 20, **conditions: int) -> dict[str, Any]:
        """The stats once all `conditions` (`min_requests`, `min_in_flight`, `max_in_flight`, `min_cancelled`) hold."""
        stats = self.stats(wait_s=wait_s, **conditions)
        assert stats["reached"], f"not reached within {wait_s} s: {conditions}, but {stats}"
        return stats

    def reset(self) -> None:
        """Back to the beginning; let hanging requests go."""
        self.control(clear=True, release=True, reset_stats=True)

    def close(self) -> None:
        self._client.close()


@contextmanager
def running_simulator(*arguments: str) -> Iterator[RunningSimulator]:
    """Start one and end it afterwards."""
    command = [sys.executable, "-m", "cli.simulator", "--port", "0", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "simulator ready" in line, line
            simulator = RunningSimulator(line.split()[-1], process)
            yield simulator
            simulator.close()
        finally:
            process.terminate()
            process.wait(10)
