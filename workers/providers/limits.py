"""What an upstream says of its own limits in the headers of every answer: what is left, and until when.

Two dialects are read: OpenAI's (`x-ratelimit-remaining-tokens`, resets as durations such as `6m0s`), which most compatible
servers share, and Anthropic's (`anthropic-ratelimit-input-tokens-remaining`, resets as points in time). Pure: who obeys them
is the business of routing.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 600.0
MAX_RESET_S = 86_400.0
_MOST = 2**53
_MAX_TEXT = 64

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|d|h|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
# A number that could only be a point in time, in seconds or in milliseconds since 1970.
_EPOCH_S = 1e9
_EPOCH_MS = 1e12


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit: how many in a window, how many are left of it, and in how many seconds it is full again."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What one answer said; None where it said nothing. Seconds count from the answer.

    `tokens` are all tokens together; `input_tokens` and `output_tokens` are named by upstreams that count them apart.
    """

    requests: Allowance | None = None
    tokens: Allowance | None = None
    input_tokens: Allowance | None = None
    output_tokens: Allowance | None = None
    retry_after_s: float | None = None

    @property
    def wait_s(self) -> float | None:
        """How long to leave the upstream alone: as it asks, else until what is used up is full again; None: go on."""
        if self.retry_after_s is not None:
            return self.retry_after_s
        counted = (self.requests, self.tokens, self.input_tokens, self.output_tokens)
        waits = [one.reset_s for one in counted if one is not None and one.remaining == 0 and one.reset_s is not None]
        return min(max(waits), MAX_RETRY_AFTER_S) if waits else None


def upstream_limits(raw: Iterable[tuple[bytes, bytes]], now: datetime | None = None) -> UpstreamLimits | None:
    """Read the limits out of raw headers; None when they hold none. Never raises, whatever stands in them.

    Args:
        raw: names and values as they came, such as `httpx.Headers.raw`; this runs for every call, and looking at each header
            once costs a tenth of asking for a dozen names.
        now: the upstream's time if it sent no `Date` of its own; default: ours.
    """
    told: dict[str, str] = {}
    for name, value in raw:
        key = name.lower()
        if key.startswith((b"x-ratelimit-", b"anthropic-ratelimit-", b"retry-after")) or key == b"date":
            told[key.decode("latin-1")] = value.decode("latin-1")
    date = told.pop("date", None)
    if not told:
        return None
    # Points in time are the upstream's; measured by its own clock, a clock of ours that goes wrong does no harm.
    asked = _http_date(date) or now or datetime.now(UTC)
    found = UpstreamLimits(
        requests=_allowance(told, "requests", asked),
        tokens=_allowance(told, "tokens", asked),
        input_tokens=_allowance(told, "input-tokens", asked),
        output_tokens=_allowance(told, "output-tokens", asked),
        retry_after_s=retry_after_s(told, asked),
    )
    return None if found == _NOTHING else found


_NOTHING = UpstreamLimits()


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date), between 0 and 600; None without a usable one."""
    text = headers.get("retry-after-ms")
    if text is not None and (millis := _number(text)) is not None:
        return _within(millis / 1000, MAX_RETRY_AFTER_S)
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return _within(seconds, MAX_RETRY_AFTER_S)
    date = _http_date(text)
    return None if date is None else _within((date - (now or datetime.now(UTC))).total_seconds(), MAX_RETRY_AFTER_S)


def reset_s(text: str, now: datetime) -> float | None:
    """Seconds until a limit is full again, from `1.5`, `6m0s`, `350ms`, `2026-01-01T12:00:00Z` or a Unix time; 0 to 86,400."""
    text = text.strip()[:_MAX_TEXT]
    if (number := _number(text)) is not None:
        if _EPOCH_S <= number < math.inf:
            number = (number / 1000 if number >= _EPOCH_MS else number) - now.timestamp()
        return _within(number, MAX_RESET_S)
    if _DURATION.fullmatch(text):
        return _within(sum(float(value) * _UNITS[unit] for value, unit in _PART.findall(text)), MAX_RESET_S)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _within((moment - now).total_seconds(), MAX_RESET_S)
    except (ValueError, OverflowError):
        return None


def _allowance(told: Mapping[str, str], what: str, now: datetime) -> Allowance | None:
    limit = told.get(f"x-ratelimit-limit-{what}", told.get(f"anthropic-ratelimit-{what}-limit"))
    remaining = told.get(f"x-ratelimit-remaining-{what}", told.get(f"anthropic-ratelimit-{what}-remaining"))
    reset = told.get(f"x-ratelimit-reset-{what}", told.get(f"anthropic-ratelimit-{what}-reset"))
    found = Allowance(_count(limit), _count(remaining), None if reset is None else reset_s(reset, now))
    return None if found == _NO_ALLOWANCE else found


_NO_ALLOWANCE = Allowance()


def _count(text: str | None) -> int | None:
    """A whole number from 0; below zero is what an upstream says whose limit was overrun: nothing is left."""
    number = None if text is None else _number(text)
    return None if number is None or math.isinf(number) else int(min(max(number, 0), _MOST))


def _number(text: str) -> float | None:
    try:
        number = float(text.strip()[:32])
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _http_date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date is None or date.tzinfo else date.replace(tzinfo=UTC)


def _within(seconds: float, most: float) -> float:
    return min(max(seconds, 0.0), most)
