"""Tenants and keys in the database, for the command line."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from core.announce import KEYS, REDIS_ERRORS, open_redis
from core.database import connect
from core.secrets import TENANT_WEBHOOK, SecretBox, SecretUnreadable
from core.settings import Settings
from core.store.keys import revoke_key
from core.store.tenants import set_tenant
from core.tables import api_keys, tenants


@asynccontextmanager
async def owner_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Connections as the schema's owner."""
    engine = connect(settings, None, pool_size=0, name="coatcheck-cli")
    try:
        yield engine
    finally:
        await engine.dispose()


def secret_box(settings: Settings) -> SecretBox:
    """What seals webhook secrets. Raises ValueError with what to do when there is no key for it."""
    if settings.secret_key is None:
        raise ValueError("set COATCHECK_SECRET_KEY to the value that the API and the workers have")
    return SecretBox.from_setting(settings.secret_key.get_secret_value())


async def webhook_secret(engine: AsyncEngine, box: SecretBox, tenant: str) -> str | None:
    """What signs a tenant's webhooks; None without such a tenant, or when it was sealed with another secret key."""
    query = select(tenants.c.id, tenants.c.webhook_secret_encrypted).where(tenants.c.name == tenant)
    async with engine.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    try:
        return box.open(row.webhook_secret_encrypted, tenant_id=row.id, purpose=TENANT_WEBHOOK)
    except SecretUnreadable:
        return None


@dataclass(frozen=True, slots=True)
class Revocation:
    """Whether there was such a key or tenant, and whether the APIs were told; else they find out within 30 seconds."""

    found: bool
    announced: bool


async def revoke(settings: Settings, key_id: UUID) -> Revocation:
    """Revoke a key and tell all APIs."""
    async with owner_engine(settings) as engine:
        if not await revoke_key(engine, key_id):
            return Revocation(found=False, announced=False)
        async with engine.connect() as connection:
            query = select(api_keys.c.token_hash).where(api_keys.c.id == key_id)
            token_hash = (await connection.execute(query)).scalar_one()
    return Revocation(found=True, announced=await _announce(settings, [token_hash]))


async def change_tenant(settings: Settings, name: str, changes: Mapping[str, Any]) -> Revocation:
    """Change a tenant's weight and limits and tell all APIs to look up its keys anew."""
    async with owner_engine(settings) as engine:
        hashes = await set_tenant(engine, name, changes)
    if hashes is None:
        return Revocation(found=False, announced=False)
    return Revocation(found=True, announced=await _announce(settings, hashes))


async def _announce(settings: Settings, hashes: Sequence[bytes]) -> bool:
    redis = open_redis(settings.redis_url, settings.redis_timeout_s)
    try:
        for token_hash in hashes:
            await redis.publish(KEYS, token_hash)
    except REDIS_ERRORS:
        return False
    finally:
        await redis.aclose()
    return True
