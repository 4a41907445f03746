"""Upstream failures as ProviderError: which code, whether to try again, and when. Messages are made safe to show."""

import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
import httpx

from workers.providers.limits import upstream_limits
from workers.providers.protocol import ProviderError
from workers.providers.reading import bad_reply

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
    402: ("rate_limited", False),
    403: ("unauthorized", False),
    408: ("upstream_timeout", True),
    409: ("upstream_error", True),
    425: ("upstream_error", True),
    429: ("rate_limited", True),
    501: ("upstream_error", False),
    504: ("upstream_timeout", True),
}
_MODEL_CODES = frozenset({"model_not_found", "notfounderror", "model_not_available"})
# Types of errors that stand for a status: in the middle of a stream, they are the status that came too late.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_PURSE_CODES = frozenset({"insufficient_quota", "billing_error", "billing_not_active"})
_PURSE_WORDS = re.compile(r"(?i)credit balance is too low|spend(?:ing)?[ _]limit")


def sanitise(text: str, secret: str | None = None) -> str:
    """`text` on one line, without anything that looks like a key, at most 500 characters."""
    if secret:
        text = text.replace(secret, "[key]")
    text = _CONTROL.sub(" ", text[: 8 * _MAX_MESSAGE])
    text = _URL_TAIL.sub(r"\1\2", _SECRETS.sub("[key]", text)).strip()
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def from_status(status: int, headers: Mapping[str, str], body: Any, secret: str | None) -> ProviderError:
    """An answer with a status that is not 2xx; `body` is its parsed JSON or None."""
    code, message = _code_and_message(body)
    ours, retryable = _classify(status, code, message)
    shown = sanitise(message, secret) or "no reason given"
    limits = upstream_limits(httpx.Headers(headers).raw)
    return ProviderError(
        ours,
        f"upstream answered {status}: {shown}"[:_MAX_MESSAGE],
        retryable=retryable,
        retry_after_s=limits.wait_s if limits is not None and retryable else None,
        upstream_status=status,
        limits=limits,
    )


def in_band(error: Any, secret: str | None) -> ProviderError:
    """An `error` member inside an answer that began with 200."""
    code, message = _code_and_message({"error": error})
    status = int(code) if code.isdigit() and 400 <= int(code) <= 599 else 500
    if code in _CONTEXT_CODES or code in _REFUSED_CODES:
        status = 400
    elif code == "rate_limit_exceeded":
        status = 429
    kind = str(error.get("type")) if isinstance(error, dict) else ""
    named = _STATUS_OF_TYPE.get(code) or _STATUS_OF_TYPE.get(kind)
    ours, retryable = _classify(named or status, code, message)
    shown = sanitise(message, secret) or "no reason given"
    return ProviderError(
        ours, f"upstream reported: {shown}"[:_MAX_MESSAGE], retryable=retryable, upstream_status=named or 200
    )


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
    for nested, name in (("innererror", "code"), ("details", "error_code")):  # Azure's and Anthropic's finer codes
        inner = error.get(nested)
        if isinstance(inner, dict) and isinstance(inner.get(name), str):
            code = inner[name]
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
    if status in (400, 402, 429) and _empty_purse(code, message):
        return "rate_limited", False
    return _BY_STATUS.get(status) or (("upstream_error", True) if status >= 500 else ("invalid_request", False))


def _empty_purse(code: str, message: str) -> bool:
    """It does not fill within a few tries."""
    return code in _PURSE_CODES or code.endswith("spend_limit_reached") or _PURSE_WORDS.search(message) is not None


def from_transport(error: Exception, *, reading: bool) -> ProviderError:
    """A connection that failed. `reading`: the head of an answer had arrived."""
    if reading:
        return bad_reply("the reply broke off before its end")
    if isinstance(error, httpx.RemoteProtocolError):
        return bad_reply("the upstream does not speak proper HTTP")
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
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "its name cannot be resolved"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "TLS failed"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
    return "connection failed"
