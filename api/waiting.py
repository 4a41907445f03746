"""Answering when a job has ended, or when the caller does not want to wait any longer."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from api.problems import invalid_query
from api.routing import Call
from core.lifecycle import TERMINAL
from core.live import ShuttingDown, Watch
from core.store.reading import read_job

LONGEST_S: Final = 60
_FIRST_VERSION: Final = 1
_PREFER_WAIT = re.compile(r"""(?:^|[,\s;])wait\s*=\s*"?([0-9]+)"?(?=\s*(?:[,;]|$))""", re.IGNORECASE)

Row = Mapping[str, Any]


def preferred_wait(call: Call) -> int | None:
    """Return the seconds of `Prefer: wait=N`, at most 60; None when the caller does not ask to wait."""
    prefer = call.header(b"prefer")
    found = _PREFER_WAIT.search(prefer) if prefer else None
    return _cut(found[1]) if found else None


def wait_parameter(query: dict[str, str]) -> int:
    """Return the seconds of `?wait=N`, at most 60; 0 when there is none.

    Raises:
        Problem: 422 when it is not a whole number from 0.
    """
    text = query.get("wait", "0")
    if not re.fullmatch("[0-9]+", text):
        raise invalid_query("wait", "wait is a number of seconds from 0 to 60.")
    return _cut(text)


def _cut(digits: str) -> int:
    # Thousands of digits are as good as ten: no number is made of them.
    digits = digits.lstrip("0")
    return LONGEST_S if len(digits) > 9 else min(int(digits or "0"), LONGEST_S)


async def until_ended(call: Call, watch: Watch, job: UUID, seconds: float, *, fresh: bool = False) -> Row | None:
    """Return the job's row as soon as it has ended, else as it is after `seconds`; None when there is no such job.

    A `fresh` job was stored a moment ago, under this watch: there is nothing to read before the first news of it, and None is
    returned when the process stops before any. No connection is held in between.
    """
    services = call.services
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    row: Row | None = None
    watch.version = _FIRST_VERSION
    if not fresh:
        row = await read_job(services.engine, call.key.tenant_id, job, position=False)
    while fresh or (row is not None and row["status"] not in TERMINAL):
        if clock() >= deadline:
            # Only now does its place in the queue matter.
            return await read_job(services.engine, call.key.tenant_id, job)
        if row is not None:
            watch.version = row["version"]
        try:
            await watch.changed(deadline - clock())
        except ShuttingDown:
            return row
        fresh = False
        row = await read_job(services.engine, call.key.tenant_id, job, position=False)
    return row
