"""`python -m cli.stack.prepare`: migrate the database and make sure of the stack's own tenant and key.

A process of its own, so that the database libraries don't stay in the memory of `coatcheck up`. Reads the key it made
earlier, if any, as `{"api_key"}` from standard input and writes `{"api_key", "webhook_secret"}` to standard output.
"""

import asyncio
import json
import sys

from sqlalchemy.ext.asyncio import AsyncEngine

from cli.database import telling_failures
from cli.errors import CliError
from cli.records import owner_engine, secret_box, webhook_secret
from cli.schema import upgrade
from cli.stack.state import OWN_TENANT
from core.secrets import SecretBox
from core.settings import Settings
from core.store import keys


async def ensure_key(engine: AsyncEngine, box: SecretBox, known: str | None) -> dict[str, str | None]:
    """The stack's key, the `known` one if the database still has it, and the webhook secret that is in force now."""
    key = known
    if not key or await keys.authenticate(engine, key) is None:
        key = (await keys.create_key(engine, box, OWN_TENANT, keys.SCOPES)).key
    secret = await webhook_secret(engine, box, OWN_TENANT)
    if secret is None:
        # Sealed with a secret key that is gone: workers can't sign with it either. It is this stack's own tenant: renew it.
        secret = await keys.rotate_tenant_secret(engine, box, OWN_TENANT, keep_old=False)
    return {"api_key": key, "webhook_secret": secret}


async def _prepare(known: dict[str, str | None]) -> dict[str, str | None]:
    box = secret_box(Settings())
    async with owner_engine(Settings()) as engine:
        return await ensure_key(engine, box, known.get("api_key"))


def main() -> None:
    """Entry point."""
    known = json.loads(sys.stdin.read() or "{}")
    try:
        with telling_failures():
            upgrade(Settings())
            made = asyncio.run(_prepare(known))
    except CliError as error:
        sys.exit(error.message)
    sys.stdout.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
