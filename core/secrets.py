"""Secrets that must be read back (webhook signing keys), encrypted at rest with AES-256-GCM.

A sealed secret is `version (1 byte) · key id (4 bytes) · nonce (12 bytes) · ciphertext and tag`. The key id is the head
of the key's own SHA-256, so a new key needs no numbering: COATCHECK_SECRET_KEY holds one or more keys separated by
commas, the first one seals and all of them open. Tenant and purpose are authenticated too: a sealed secret copied to
another row doesn't open there.
"""

import base64
import binascii
import hashlib
import os
import secrets
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Purposes: what a sealed secret is for.
TENANT_WEBHOOK = "tenant-webhook"
ENDPOINT_WEBHOOK = "webhook-endpoint"

WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105 - says what a secret looks like
_VERSION = b"\x01"
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES
_WEBHOOK_SECRET_BYTES = 32


class SecretKeyInvalid(ValueError):
    """COATCHECK_SECRET_KEY is not what it should be. The text never shows the key."""


class SecretUnreadable(Exception):
    """A stored secret can't be opened: another key, another tenant or purpose, or damaged bytes."""


class SecretBox:
    """Seals and opens secrets. Keys stay inside; its repr shows none."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise SecretKeyInvalid(f"the secret key must have {_KEY_BYTES} bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._active = _key_id(keys[0])

    @classmethod
    def from_setting(cls, text: str) -> "SecretBox":
        """From base64 text (standard or URL-safe alphabet), several keys separated by commas. Raises SecretKeyInvalid."""
        try:
            keys = tuple(_decode_key(part) for part in text.split(","))
        except (binascii.Error, ValueError):
            raise SecretKeyInvalid("COATCHECK_SECRET_KEY must be base64 of 32 random bytes") from None
        return cls(keys)

    def seal(self, secret: str, *, tenant_id: UUID, purpose: str) -> bytes:
        """The bytes to store."""
        nonce = os.urandom(_NONCE_BYTES)
        head = _VERSION + self._active
        sealed = self._ciphers[self._active].encrypt(nonce, secret.encode(), _context(head, tenant_id, purpose))
        return head + nonce + sealed

    def open(self, sealed: bytes, *, tenant_id: UUID, purpose: str) -> str:
        """The secret again. Raises SecretUnreadable."""
        head, nonce = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
        cipher = self._ciphers.get(head[len(_VERSION) :])
        if head[: len(_VERSION)] != _VERSION or cipher is None:
            raise SecretUnreadable("sealed with a key that is not configured")
        try:
            return cipher.decrypt(
                nonce, sealed[_HEAD_BYTES + _NONCE_BYTES :], _context(head, tenant_id, purpose)
            ).decode()
        except (InvalidTag, ValueError):
            raise SecretUnreadable("sealed for something else, or damaged") from None


def new_secret_key() -> str:
    """A value for COATCHECK_SECRET_KEY."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def new_webhook_secret() -> str:
    """`whsec_` and padded base64 of 32 random bytes, as Standard Webhooks wants it."""
    return WEBHOOK_SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_WEBHOOK_SECRET_BYTES)).decode()


def secret_hint(secret: str) -> str:
    """Enough to tell two secrets apart, too little to guess one: the prefix, an ellipsis and the last four characters."""
    return f"{WEBHOOK_SECRET_PREFIX}…{secret.rstrip('=')[-4:]}"


def _decode_key(text: str) -> bytes:
    standard = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"coatcheck-key-id" + key).digest()[:_KEY_ID_BYTES]


def _context(head: bytes, tenant_id: UUID, purpose: str) -> bytes:
    return head + tenant_id.bytes + purpose.encode()
