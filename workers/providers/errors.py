"""Upstream failures as ProviderError: which code, whether to try again, and when. Messages are made safe to show."""

import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx

from workers.providers.protocol import ProviderError
from workers.providers.reading import bad_reply

MAX_RETRY_AFTER_S = 600.0
_MAX_MESSAGE = 500

_SECRETS = re.compile(
    r"(?i)\b(?:bearer|basic)\s+\S+"
    r"|\b(?:sk|pk|rk|ak|cc|hf|gsk|xai|key|whsec|api[_-]?key)[-_][A-Za-z0-9_*.=/+-]{6,}"
    r"|\bAIza[A-Za-z0-9_-]{20,}|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]+"
)
_URL_TAIL = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s?#\"']+)[?#][^\s\"']*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_CONTEXT_WORDS = re.compile(
    r"(?i)maximum context length|context[ _](?:length|window|size)\b.*(?:exceed|limit|larger|too)|"
    r"exceeds? (?:the )?(?:available |model'?s? )?(?:maximum )?context|prompt is too long|input is too long"
)
_REFUSED_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "invalid_prompt",
    }
)
_BY_STATUS = {
    401: ("unauthorized", False),
    403: ("unauthorized", False),
    408: ("upstream_timeout", True),
    409: ("upstream_error", True),
    425: ("upstream_error", True),
    501: ("upstream_error", False),
    504: ("upstream_timeout", True),
}
_MODEL_CODES = frozenset({"model_not_found", "notfounderror", "model_not_available"})


def sanitise(text: str, secret: str | None = None) -> str:
    """`text` on one line, without anything that looks like a key, at most 500 characters."""
    if secret:
        text = text.replace(secret, "[key]")
    text = _CONTROL.sub(" ", text[: 8 * _MAX_MESSAGE])
    text = _URL_TAIL.sub(r"\1\2", _SECRETS.sub("[key]", text)).strip()
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date), between 0 and 600; None without a usable one."""
    text = headers.get("retry-after-ms")
    if text is not None and (millis := _number(text)) is not None:
        return _within(millis / 1000)
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return _within(seconds)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return _within((date - (now or datetime.now(UTC))).total_seconds())


def _number(text: str) -> float | None:
    try:
        number = float(text.strip()[:32])
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _within(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def from_status(status: int, headers: Mapping[str, str], body: Any, secret: str | None) -> ProviderError:
    """An answer with a status that is not 2xx; `body` is its parsed JSON or None."""
    code, message = _code_and_message(body)
    ours, retryable = _classify(status, code, message)
    shown = sanitise(message, secret) or "no reason given"
    return ProviderError(
        ours,
        f"upstream answered {status}: {shown}"[:_MAX_MESSAGE],
        retryable=retryable,
        retry_after_s=retry_after_s(headers) if retryable else None,
        upstream_status=status,
    )


def in_band(error: Any, secret: str | None) -> ProviderError:
    """An `error` member inside an answer that began with 200."""
    code, message = _code_and_message({"error": error})
    status = int(code) if code.isdigit() and 400 <= int(code) <= 599 else 500
    if code in ("rate_limit_exceeded", "rate_limit_error"):
        status = 429
    elif code in _CONTEXT_CODES or code in _REFUSED_CODES or code == "invalid_request_error":
        status = 400
    ours, retryable = _classify(status, code, message)
    shown = sanitise(message, secret) or "no reason given"
    return ProviderError(ours, f"upstream reported: {shown}"[:_MAX_MESSAGE], retryable=retryable, upstream_status=200)


def _code_and_message(body: Any) -> tuple[str, str]:
    """The machine's and the human's part of an error body. OpenAI nests them in `error`; others don't."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    code = error.get("code")
    if code is None or code == "":
        code = error.get("type")
    message = error.get("message") or error.get("detail") or error.get("title") or ""
    inner = error.get("innererror")
    if isinstance(inner, dict) and isinstance(inner.get("code"), str):
        code = inner["code"]
    return str(code or "").lower()[:100], message if isinstance(message, str) else str(message)[: 8 * _MAX_MESSAGE]


def _classify(status: int, code: str, message: str) -> tuple[str, bool]:
    """Our code, and whether trying again can help."""
    if status < 400:
        return "upstream_error", False  # a redirect: not followed, and no less so next time
    if status < 500 and (code in _CONTEXT_CODES or (status in (400, 413, 422) and _CONTEXT_WORDS.search(message))):
        return "context_length_exceeded", False
    if status < 500 and code in _REFUSED_CODES:
        return "content_refused", False
    if status == 404 and (code in _MODEL_CODES or "model" in message.lower()):
        return "unknown_model", False
    if status == 429:
        return "rate_limited", code != "insufficient_quota"  # an empty purse does not fill within a few tries
    return _BY_STATUS.get(status) or (("upstream_error", True) if status >= 500 else ("invalid_request", False))


def from_transport(error: Exception, *, reading: bool) -> ProviderError:
    """A connection that failed. `reading`: the head of an answer had arrived."""
    if reading:
        return bad_reply("the reply broke off before its end")
    if isinstance(error, httpx.RemoteProtocolError):
        return bad_reply("the upstream does not speak HTTP/1.1")
    if isinstance(error, httpx.UnsupportedProtocol):
        return ProviderError("upstream_unreachable", "the deployment's base_url cannot be used", retryable=False)
    if isinstance(error, httpx.TimeoutException):
        reason = "did not accept a connection in time"
    elif isinstance(error, httpx.ConnectError):
        reason = f"cannot be reached: {_connect_reason(error.__cause__)}"
    else:
        reason = "closed the connection without an answer"
    return ProviderError("upstream_unreachable", f"the upstream {reason}", retryable=True)


def _connect_reason(cause: BaseException | None) -> str:
    """Why there is no connection, without the upstream's host and port, which are none of the caller's business."""
    match cause:
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ClientSSLError():
            return "TLS failed"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
    return "connection failed"
