"""W3C trace context: taken from the request, kept with the job, sent on to the upstream and the webhook.

Source of the format: W3C Trace Context, level 1, section 3.2 (``traceparent``).
"""

import re
import secrets
from typing import Final

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def accept_traceparent(value: str | None) -> str:
    """Return ``value`` when it is a valid traceparent, else a new one that is not sampled elsewhere."""
    if value is not None and _TRACEPARENT.fullmatch(value):
        return value
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_traceparent(parent: str) -> str:
    """Return a traceparent of the same trace with a span id of its own."""
    return f"{parent[:36]}{secrets.token_hex(8)}{parent[52:]}"
