"""Every error the API answers with, as RFC 9457 problem details that OpenAI's SDKs can read too.

The tree, by status (`code` is stable, text may change):

    400  invalid_http · invalid_host · invalid_json · invalid_number · duplicate_key · json_too_deep · invalid_text ·
         invalid_header
    401  unauthorized
    403  missing_scope
    404  not_found
    405  method_not_allowed
    408  request_timeout
    409  cache_miss · idempotency_in_progress · invalid_state
    413  body_too_large
    414  url_too_long
    415  unsupported_media_type · unsupported_encoding
    422  invalid_request · unknown_model · unsupported_endpoint · integer_too_large · idempotency_mismatch · original_deleted ·
         webhook_url_refused · webhook_test_failed · no_model_fits · screened
    429  rate_limited · too_many_jobs · budget_spent
    431  headers_too_large
    500  internal
    501  unsupported_transfer_encoding
    503  unavailable
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

CONTENT_TYPE: Final = b"application/problem+json"
_LONGEST_RETRY_S: Final = 120.0  # OpenAI's SDKs stop retrying when told to wait longer


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems with one code have in common; `family` is OpenAI's `error.type`."""

    status: int
    title: str
    family: str = "invalid_request_error"


KINDS: Final[dict[str, Kind]] = {
    "invalid_http": Kind(400, "The request is not valid HTTP"),
    "invalid_host": Kind(400, "The Host header is missing or malformed"),
    "invalid_json": Kind(400, "The body is not valid JSON"),
    "invalid_number": Kind(400, "The body holds a number that JSON does not have"),
    "duplicate_key": Kind(400, "The body names a member twice"),
    "json_too_deep": Kind(400, "The body is nested too deeply"),
    "invalid_text": Kind(400, "The body holds text that is not valid Unicode"),
    "invalid_header": Kind(400, "A request header is malformed"),
    "unauthorized": Kind(401, "No valid API key", "authentication_error"),
    "missing_scope": Kind(403, "The API key lacks a scope", "permission_error"),
    "not_found": Kind(404, "Not found", "not_found_error"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "request_timeout": Kind(408, "The request took too long to arrive"),
    "cache_miss": Kind(409, "Nothing is cached for this request", "conflict_error"),
    "idempotency_in_progress": Kind(409, "The first request with this key is still being accepted", "conflict_error"),
    "invalid_state": Kind(409, "The object's state does not allow this", "conflict_error"),
    "body_too_large": Kind(413, "The body is too large"),
    "url_too_long": Kind(414, "The URL is too long"),
    "unsupported_media_type": Kind(415, "Unsupported content type"),
    "unsupported_encoding": Kind(415, "Compressed request bodies are not accepted"),
    "invalid_request": Kind(422, "The request is not valid"),
    "unknown_model": Kind(422, "Unknown model"),
    "unsupported_endpoint": Kind(422, "The model does not serve this endpoint"),
    "integer_too_large": Kind(422, "An integer does not fit in 64 bits"),
    "idempotency_mismatch": Kind(422, "The idempotency key was used with another payload"),
    "original_deleted": Kind(422, "What this idempotency key stands for was deleted"),
    "webhook_url_refused": Kind(422, "The webhook URL may not be used"),
    "webhook_test_failed": Kind(422, "The receiver did not accept the test webhook"),
    "no_model_fits": Kind(422, "No model can serve this request"),
    "screened": Kind(422, "The request was blocked by a screening rule"),
    "rate_limited": Kind(429, "Too many requests", "rate_limit_error"),
    "too_many_jobs": Kind(429, "Too many jobs", "rate_limit_error"),
    "budget_spent": Kind(429, "The budget is spent", "insufficient_quota"),
    "headers_too_large": Kind(431, "The request headers are too large"),
    "internal": Kind(500, "Internal error", "server_error"),
    "unsupported_transfer_encoding": Kind(501, "Only the transfer coding chunked is accepted", "server_error"),
    "unavailable": Kind(503, "Temporarily unavailable", "server_error"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the payload: a JSON pointer to it and what is wrong."""

    pointer: str
    detail: str
    line: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the member of `errors`."""
        told: dict[str, Any] = {"pointer": self.pointer, "detail": self.detail}
        if self.line is not None:
            told["line"] = self.line
        return told


class Problem(Exception):
    """An answer that is an error. Raise it anywhere below the edge.

    Args:
        code: a key of `KINDS`.
        detail: one sentence for the caller; it must not quote secrets, SQL or other tenants' data.
        param: the offending field or header, if there is one.
        errors: everything that is wrong with the payload.
        members: more members of the body.
        headers: more response headers.
        retry_after_s: when to try again, in seconds; cut to 120.
        close: end the connection after this answer.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        param: str | None = None,
        errors: Sequence[Fault] = (),
        members: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        retry_after_s: float | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail or self.kind.title + "."
        self.param = param
        self.errors = errors
        self.members = members
        self.headers = headers
        self.retry_after_s = retry_after_s
        self.close = close

    def body(self, instance: str, request_id: str) -> bytes:
        """Return the problem+json body; `instance` is the path the caller asked for."""
        told: dict[str, Any] = {
            "type": f"urn:coatcheck:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            "error": {"message": self.detail, "type": self.kind.family, "param": self.param, "code": self.code},
        }
        if self.errors:
            told["errors"] = [fault.as_json() for fault in self.errors]
        if self.members:
            told |= self.members
        return orjson.dumps(told)

    def head(self) -> list[tuple[bytes, bytes]]:
        """Return the response headers that this problem brings besides content type and length."""
        headers = list(self.headers)
        wait = self.retry_after_s
        if wait is not None:
            wait = min(max(wait, 0.001), _LONGEST_RETRY_S)
            headers.append((b"retry-after", b"%d" % -int(-wait // 1)))
            headers.append((b"retry-after-ms", b"%d" % -int(-wait * 1000 // 1)))
        return headers


def pointer(prefix: str, path: Iterable[int | str]) -> str:
    """Return the JSON pointer to `path` below `prefix`, cut to 500 characters."""
    return (prefix + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path))[:500]


def invalid(where: str, detail: str, *, code: str = "invalid_request") -> Problem:
    """Return the 422 for one fault of the payload; `where` is a JSON pointer such as `/body/model`."""
    param = where.strip("/").replace("/", ".") or None
    return Problem(code, detail, param=param, errors=[Fault(where, detail)])


def invalid_query(name: str, detail: str) -> Problem:
    """Return the 422 for a query parameter; its pointer is its name behind a slash."""
    return Problem("invalid_request", detail, param=name, errors=[Fault(pointer("", [name]), detail)])


def invalid_fields(faults: Sequence[Fault]) -> Problem:
    """Return the 422 for a payload; the first fault is told in `detail` too."""
    first = faults[0]
    param = first.pointer.strip("/").replace("/", ".") or None
    detail = f"{param or 'body'}: {first.detail[:1].lower()}{first.detail[1:]}"
    return Problem("invalid_request", detail, param=param, errors=faults)


def unavailable(detail: str = "The database cannot be reached. Nothing was changed; try again.") -> Problem:
    """Return the 503 that asks to come back in a second."""
    return Problem("unavailable", detail, retry_after_s=1.0)


def not_found(what: str) -> Problem:
    """Return the 404 that unknown, malformed and foreign ids all get alike."""
    return Problem("not_found", f"No such {what}.")
