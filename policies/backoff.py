"""How long to wait before the next try, of a job at its upstream and of a webhook at its receiver. Pure; delays in seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

RETRY_BASE_S = 1.0
RETRY_CAP_S = 300.0
# An upstream may ask for patience, but not park a job for days.
RETRY_AFTER_CAP_S = 3600.0

WEBHOOK_SCHEDULE_S: tuple[float, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
WEBHOOK_RETRY_AFTER_CAP_S = 86400.0
WEBHOOK_JITTER = 0.1


class Uniform(Protocol):
    """What is needed of `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float: ...


def retry_delay(attempt: int, *, retry_after: float | None = None, rng: Uniform) -> float:
    """Seconds until a failed job runs again. `attempt` counts from 1: the attempt that has just failed.

    Full jitter over 1, 2, 4, … 300 s. The upstream's `retry_after` (seconds) is a floor, at most an hour, with a spread
    above it so that the jobs it turned away together don't come back together.
    """
    cap = min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(max(attempt, 1) - 1, 32))
    delay = rng.uniform(0.0, cap)
    if retry_after is None or not retry_after > 0:
        return delay
    floor = min(retry_after, RETRY_AFTER_CAP_S)
    return max(delay, floor + rng.uniform(0.0, min(cap, max(1.0, floor / 4))))


def webhook_delay(
    try_no: int, *, retry_after: float | None = None, rng: Uniform, schedule: Sequence[float] = WEBHOOK_SCHEDULE_S
) -> float | None:
    """Seconds until a webhook is tried again after its `try_no`-th try (from 1) failed; None after the last one.

    Never earlier than the schedule says and up to a tenth later; the receiver's `retry_after` (seconds) is a floor, at
    most a day.
    """
    if try_no > len(schedule):
        return None
    base = schedule[max(try_no, 1) - 1]
    if retry_after is not None and retry_after > base:
        base = min(retry_after, max(base, WEBHOOK_RETRY_AFTER_CAP_S))
    return base + rng.uniform(0.0, base * WEBHOOK_JITTER)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: a number of seconds or an HTTP date. None when missing or malformed.

    `now` is an aware time.
    """
    text = (value or "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text) if len(text) <= 12 else None
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())
