"""Tenants and their API keys.

A key is ``cc_`` and 43 characters of base64url: 256 random bits. Only its SHA-256 is stored (no salt and no slow hash: there is
nothing to guess in 256 bits), with the first characters to recognise it by.
"""

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
from sqlalchemy import insert, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core import ids
from core.secrets import TENANT_WEBHOOK, SecretBox, new_webhook_secret
from core.store.statements import fetch
from core.tables import api_keys, tenants
from policies.cache_policy import NO_RULES, CacheRules
from policies.limits import NO_LIMITS, Limits, Owners

SCOPES: Final = ("jobs:write", "jobs:read", "admin")
DEFAULT_SCOPES: Final = ("jobs:write", "jobs:read")
KEY_PREFIX: Final = "cc_"
#: The columns of keys and tenants that limit them.
LIMITS: Final = tuple(field.name for field in fields(Limits))
_SHOWN: Final = 10


@dataclass(slots=True, frozen=True)
class ApiKey:
    """Who asks: the row behind a presented key, and what limits it together with the other keys of its tenant.

    ``cache`` is what its jobs ask of caches where they do not say.
    """

    id: UUID
    tenant_id: UUID
    scopes: frozenset[str]
    requests_per_minute: int | None
    limits: Limits = NO_LIMITS
    tenant_limits: Limits = NO_LIMITS
    cache: CacheRules = NO_RULES

    @property
    def owners(self) -> Owners:
        """Whose limits hold for its jobs."""
        return Owners(self.tenant_id, self.id, self.limits, self.tenant_limits)


@dataclass(slots=True, frozen=True)
class NewKey:
    """A key just made. ``key`` is shown once; ``webhook_secret`` only when its tenant was made with it."""

    id: UUID
    key: str
    tenant: str
    scopes: tuple[str, ...]
    webhook_secret: str | None


@dataclass(slots=True, frozen=True)
class KeyInfo:
    """What may be shown of a key."""

    id: UUID
    tenant: str
    prefix: str
    scopes: tuple[str, ...]
    limits: Limits
    cache: CacheRules
    created_at: datetime
    revoked_at: datetime | None


def hash_key(key: str) -> bytes:
    """Return the SHA-256 of a key, as it is stored."""
    return hashlib.sha256(key.encode()).digest()


async def authenticate(engine: AsyncEngine, key: str) -> ApiKey | None:
    """Return who presents ``key``; None when nobody does, or no longer."""
    digest = hash_key(key)
    rows = await fetch(engine, "read_key", {"hash": digest})
    row = rows[0] if rows else None
    if row is None or not hmac.compare_digest(bytes(row.token_hash), digest):
        return None
    own, shared = (Limits(*(row[prefix + name] for name in LIMITS)) for prefix in ("", "tenant_"))
    return ApiKey(row.id, row.tenant_id, frozenset(row.scopes), row.requests_per_minute, own, shared, _rules(row.cache))


async def create_key(
    engine: AsyncEngine,
    box: SecretBox,
    tenant: str,
    scopes: tuple[str, ...] = DEFAULT_SCOPES,
    requests_per_minute: int | None = None,
    limits: Limits = NO_LIMITS,
    cache: CacheRules = NO_RULES,
) -> NewKey:
    """Make a key for ``tenant``, and the tenant with its webhook secret when there is none of that name.

    Args:
        engine: connections as the schema's owner.
        box: encrypts the tenant's webhook secret.
        tenant: a name, 1 to 64 characters.
        scopes: from ``SCOPES``.
        requests_per_minute: a limit, or None for none.
        limits: all others; its own requests per minute are not looked at.
        cache: what its jobs ask of caches where they do not say.

    Raises:
        ValueError: for an unknown scope or an empty name.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise ValueError(f"unknown scope {', '.join(sorted(unknown))}: choose from {', '.join(SCOPES)}")
    if not 1 <= len(tenant) <= 64:
        raise ValueError("a tenant's name has 1 to 64 characters")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    async with engine.begin() as connection:
        tenant_id, secret = await _ensure_tenant(connection, box, tenant)
        key_id = ids.new_id()
        await connection.execute(
            insert(api_keys).values(
                id=key_id,
                tenant_id=tenant_id,
                token_hash=hash_key(key),
                prefix=key[:_SHOWN],
                scopes=list(scopes),
                cache=cache.told() or null(),
                **(asdict(limits) | {"requests_per_minute": requests_per_minute}),
            )
        )
    return NewKey(key_id, key, tenant, scopes, secret)


async def _ensure_tenant(connection: AsyncConnection, box: SecretBox, name: str) -> tuple[UUID, str | None]:
    found = (await connection.execute(select(tenants.c.id).where(tenants.c.name == name))).scalar_one_or_none()
    if found is not None:
        return found, None
    tenant_id, secret = ids.new_id(), new_webhook_secret()
    await connection.execute(
        insert(tenants).values(
            id=tenant_id,
            name=name,
            webhook_secret_encrypted=box.seal(secret, tenant_id=tenant_id, purpose=TENANT_WEBHOOK),
        )
    )
    return tenant_id, secret


async def list_keys(engine: AsyncEngine) -> list[KeyInfo]:
    """Return all keys, newest first, revoked ones included."""
    query = (
        select(api_keys, tenants.c.name.label("tenant"))
        .join(tenants, tenants.c.id == api_keys.c.tenant_id)
        .order_by(api_keys.c.id.desc())
    )
    async with engine.connect() as connection:
        rows = await connection.execute(query)
        return [
            KeyInfo(
                row.id,
                row.tenant,
                row.prefix,
                tuple(row.scopes),
                Limits(*(getattr(row, name) for name in LIMITS)),
                _rules(row.cache),
                row.created_at,
                row.revoked_at,
            )
            for row in rows
        ]


def _rules(told: str | None) -> CacheRules:
    # JSON comes as text over every connection.
    return CacheRules.of(None if told is None else orjson.loads(told))


async def revoke_key(engine: AsyncEngine, key_id: UUID) -> bool:
    """Revoke a key; False when there is no such key. Revoking twice is no error."""
    async with engine.begin() as connection:
        changed = await connection.execute(
            update(api_keys)
            .where(api_keys.c.id == key_id)
            .values(revoked_at=text("coalesce(revoked_at, now())"))
            .returning(api_keys.c.id)
        )
        return changed.first() is not None


async def rotate_tenant_secret(engine: AsyncEngine, box: SecretBox, tenant: str, *, keep_old: bool) -> str | None:
    """Renew the secret that signs webhooks to jobs' own URLs; None when there is no such tenant.

    Args:
        engine: connections as the schema's owner.
        box: encrypts the secret.
        tenant: the tenant's name.
        keep_old: whether the old secret signs along for 24 hours.
    """
    secret = new_webhook_secret()
    async with engine.begin() as connection:
        row = (await connection.execute(select(tenants).where(tenants.c.name == tenant).with_for_update())).first()
        if row is None:
            return None
        await connection.execute(
            update(tenants)
            .where(tenants.c.id == row.id)
            .values(
                webhook_secret_encrypted=box.seal(secret, tenant_id=row.id, purpose=TENANT_WEBHOOK),
                old_webhook_secret_encrypted=row.webhook_secret_encrypted if keep_old else None,
                old_webhook_secret_until=text("now() + interval '24 hours'") if keep_old else None,
            )
        )
    return secret
