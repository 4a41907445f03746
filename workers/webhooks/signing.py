"""The headers of a webhook, in the Standard Webhooks format."""

from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

_USER_AGENT = "Coatcheck-Webhooks/1"


def signed_headers(
    *, webhook_id: str, payload: str, secrets: Sequence[str], now: datetime, traceparent: str | None
) -> dict[str, str]:
    """The headers to send with `payload`.

    Args:
        webhook_id: the event's id, the same for every try.
        secrets: `whsec_…` texts; each makes a signature, so that a receiver may verify with the old or the new one.
        now: an aware time in UTC.
    """
    headers = {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(webhook_id, now, payload) for secret in secrets),
    }
    if traceparent:
        headers["traceparent"] = traceparent
    return headers
