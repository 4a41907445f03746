"""The demo's own judgement: what it accepts as proof."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from cli.demo.api import Answer, DemoFailed, accepted, passages, text_of
from cli.demo.crowds import _sizes
from cli.demo.receiver import Delivery
from cli.demo.scenes import _passes, _verified
from core.secrets import new_webhook_secret

BODY = b'{"id":"evt_1","object":"event","type":"job.succeeded"}'


def signed(secret: str) -> Delivery:
    now = datetime.now(UTC)
    headers = {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("evt_1", now, BODY.decode()),
    }
    return Delivery("/", headers, BODY)


def answer(status: int, body: Mapping[str, Any]) -> Answer:
    return Answer(status, 1.0, {}, dict(body))


def test_a_webhook_signed_with_its_secret_is_believed_and_a_changed_one_is_not() -> None:
    secret = new_webhook_secret()
    assert _verified(signed(secret), secret)["id"] == "evt_1"
    assert not _passes(signed(secret), secret)


def test_a_webhook_signed_with_another_secret_fails_the_demo() -> None:
    with pytest.raises(DemoFailed, match="signature"):
        _verified(signed(new_webhook_secret()), new_webhook_secret())


def test_only_a_202_is_an_accepted_job() -> None:
    assert accepted(answer(202, {"id": "job_1"})) == {"id": "job_1"}
    with pytest.raises(DemoFailed, match="202"):
        accepted(answer(200, {}))


def test_a_failed_job_has_no_text_and_says_why() -> None:
    with pytest.raises(DemoFailed, match="job_1 is failed"):
        text_of({"id": "job_1", "status": "failed", "error": {"code": "timeout"}})


def test_passages_are_as_many_and_as_long_as_asked_and_reach_both_ends() -> None:
    cut = passages(["a b c d e", "f g h i j"], count=4, words=3)
    assert [len(passage.split()) for passage in cut] == [3] * 4
    assert cut[0] == "a b c" and cut[-1] == "h i j"


def test_batch_sizes_are_told_with_the_number_of_batches() -> None:
    jobs = [{"timing": {"batch_size": size}} for size in [2, 2, 2, 2, 1, 3, 3, 3]]
    assert _sizes(jobs) == "1 to 3 a batch (1 × 3, 2 × 2, 1 × 1)"
