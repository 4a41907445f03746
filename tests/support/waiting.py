"""Waiting for something to become so, with an end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 30.0
_PAUSE_S = 0.02


async def eventually(look: Callable[[], Awaitable[T]], timeout_s: float = PATIENCE_S) -> T:
    """Look again and again until what is seen is truthy (an AssertionError counts as not yet); return it."""
    deadline = time.monotonic() + timeout_s
    while True:
        problem: AssertionError | None = None
        seen: T | None = None
        try:
            seen = await look()
        except AssertionError as error:
            problem = error
        if seen and problem is None:
            return seen
        if time.monotonic() > deadline:
            raise problem or AssertionError(f"not so within {timeout_s:g} s; last seen: {seen!r}")
        await asyncio.sleep(_PAUSE_S)


def soon(look: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
    """The same without an event loop."""

    async def wrapped() -> T:
        return look()

    return asyncio.run(eventually(wrapped, timeout_s))
