"""W3C trace context: kept with the job, sent on to the upstream with a span of its own. The API takes it from the request.

Source of the format: W3C Trace Context, level 1, section 3.2 (``traceparent``).
"""

import secrets


def child_traceparent(parent: str) -> str:
    """Return a traceparent of the same trace with a span id of its own."""
    return f"{parent[:36]}{secrets.token_hex(8)}{parent[52:]}"
