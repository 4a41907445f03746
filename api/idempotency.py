"""Idempotency keys: reading the header, telling payloads apart, one acceptance at a time."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson

from api.problems import Problem
from api.routing import Call

_HEADER = b"idempotency-key"
_LONGEST = 255


def key_of(call: Call) -> str | None:
    """Return the request's idempotency key.

    Raises:
        Problem: 400 for a key that is empty, too long or not printable ASCII.
    """
    key = call.header(_HEADER)
    if key is None:
        return None
    # The draft standard writes the key in quotes, most clients don't; both mean the same key.
    key = key.strip().removeprefix('"').removesuffix('"')
    if not 1 <= len(key) <= _LONGEST:
        raise Problem("invalid_header", f"Idempotency-Key has 1 to {_LONGEST} characters.", param="Idempotency-Key")
    return key


def fingerprint(kind: str, payload: Any) -> bytes:
    """Return a hash of the payload that ignores spaces and the order of members."""
    canonical = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(kind.encode() + b"\0" + canonical).digest()


@contextmanager
def accepting(call: Call, key: str | None) -> Iterator[None]:
    """Mark the key as being accepted.

    Raises:
        Problem: 409 when another request with this key is not yet through.
    """
    if key is None:
        yield
        return
    place: tuple[UUID, str] = (call.key.tenant_id, key)
    under_way = call.services.accepting
    if place in under_way:
        raise Problem("idempotency_in_progress", retry_after_s=0.5)
    under_way.add(place)
    try:
        yield
    finally:
        under_way.discard(place)


def deleted(what: str) -> Problem:
    """Return the 422 for a key whose job or group is no longer there: it must neither be made anew nor be shown."""
    detail = f"The {what} that this idempotency key stands for was deleted; use a new key to submit it again."
    return Problem("original_deleted", detail, param="Idempotency-Key")


def mismatch() -> Problem:
    """Return the 422 for a key that was used with another payload."""
    return Problem("idempotency_mismatch", param="Idempotency-Key")
