import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from core.secrets import (
    ENDPOINT_WEBHOOK,
    TENANT_WEBHOOK,
    SecretBox,
    SecretKeyInvalid,
    SecretUnreadable,
    new_secret_key,
    new_webhook_secret,
    secret_hint,
)

TENANT, OTHER = UUID(int=1), UUID(int=2)


@given(st.text())
def test_a_sealed_secret_opens_to_itself_and_shows_nothing(secret: str) -> None:
    box = SecretBox.from_setting(new_secret_key())
    sealed = box.seal(secret, tenant_id=TENANT, purpose=ENDPOINT_WEBHOOK)
    assert box.open(sealed, tenant_id=TENANT, purpose=ENDPOINT_WEBHOOK) == secret
    assert len(secret.encode()) < 8 or secret.encode() not in sealed


def test_the_same_secret_never_looks_the_same_twice() -> None:
    box = SecretBox.from_setting(new_secret_key())
    assert box.seal("s", tenant_id=TENANT, purpose="p") != box.seal("s", tenant_id=TENANT, purpose="p")


@pytest.mark.parametrize(("tenant", "purpose"), [(OTHER, ENDPOINT_WEBHOOK), (TENANT, TENANT_WEBHOOK)])
def test_a_sealed_secret_does_not_open_elsewhere(tenant: UUID, purpose: str) -> None:
    box = SecretBox.from_setting(new_secret_key())
    sealed = box.seal("secret", tenant_id=TENANT, purpose=ENDPOINT_WEBHOOK)
    with pytest.raises(SecretUnreadable):
        box.open(sealed, tenant_id=tenant, purpose=purpose)


@given(st.integers(0, 200), st.integers(1, 255))
def test_damaged_bytes_do_not_open(position: int, flip: int) -> None:
    box = SecretBox.from_setting(new_secret_key())
    sealed = bytearray(box.seal("secret", tenant_id=TENANT, purpose="p"))
    sealed[position % len(sealed)] ^= flip
    with pytest.raises(SecretUnreadable):
        box.open(bytes(sealed), tenant_id=TENANT, purpose="p")


@given(st.binary(max_size=60))
def test_foreign_bytes_do_not_open(sealed: bytes) -> None:
    with pytest.raises(SecretUnreadable):
        SecretBox((b"k" * 32,)).open(sealed, tenant_id=TENANT, purpose="p")


def test_after_a_new_key_the_old_secrets_still_open() -> None:
    old, new = new_secret_key(), new_secret_key()
    sealed = SecretBox.from_setting(old).seal("secret", tenant_id=TENANT, purpose="p")
    rotated = SecretBox.from_setting(f"{new}, {old}")
    assert rotated.open(sealed, tenant_id=TENANT, purpose="p") == "secret"
    fresh = rotated.seal("secret", tenant_id=TENANT, purpose="p")
    assert SecretBox.from_setting(new).open(fresh, tenant_id=TENANT, purpose="p") == "secret"
    with pytest.raises(SecretUnreadable):
        SecretBox.from_setting(old).open(fresh, tenant_id=TENANT, purpose="p")


@pytest.mark.parametrize("text", ["", "short", "!" * 44, base64.b64encode(b"k" * 31).decode(), "ключ"])
def test_a_key_of_the_wrong_kind_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SecretKeyInvalid) as refused:
        SecretBox.from_setting(text)
    assert not text or text not in str(refused.value)


def test_url_safe_and_unpadded_keys_are_understood() -> None:
    key = bytes(range(220, 252))
    usual = SecretBox.from_setting(base64.b64encode(key).decode())
    other = SecretBox.from_setting(base64.urlsafe_b64encode(key).decode().rstrip("="))
    sealed = usual.seal("tide", tenant_id=TENANT, purpose=ENDPOINT_WEBHOOK)
    assert other.open(sealed, tenant_id=TENANT, purpose=ENDPOINT_WEBHOOK) == "tide"


def test_a_webhook_secret_is_what_standard_webhooks_expects() -> None:
    secret = new_webhook_secret()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert Webhook(secret)
    assert secret != new_webhook_secret()


def test_a_hint_gives_little_away() -> None:
    secret = new_webhook_secret()
    assert secret_hint(secret) == f"whsec_…{secret.rstrip('=')[-4:]}"
