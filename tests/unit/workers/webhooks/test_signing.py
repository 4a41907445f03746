from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from core.secrets import new_webhook_secret
from workers.webhooks.signing import signed_headers


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 3))
def test_every_secret_verifies_what_was_signed(payload: str, count: int) -> None:
    secrets = [new_webhook_secret() for _ in range(count)]
    headers = signed_headers(
        webhook_id="evt_1", payload=payload, secrets=secrets, now=datetime.now(UTC), traceparent=None
    )
    for secret in secrets:
        Webhook(secret).verify(payload.encode(), headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_webhook_secret()).verify(payload.encode(), headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[0]).verify(payload.encode() + b" ", headers, json_parse=False)


def test_the_trace_goes_along_when_there_is_one() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    headers = signed_headers(
        webhook_id="evt_1", payload="{}", secrets=[new_webhook_secret()], now=now, traceparent="00-a-b-01"
    )
    assert headers["traceparent"] == "00-a-b-01"
    assert headers["webhook-timestamp"] == "1767225600"
    without = signed_headers(
        webhook_id="evt_1", payload="{}", secrets=[new_webhook_secret()], now=now, traceparent=None
    )
    assert "traceparent" not in without
