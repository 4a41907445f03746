"""`python -m cli.stack.prepare`: migrate the database and make sure of the stack's own tenant and key.

A process of its own, so that the database libraries don't stay in the memory of `coatcheck up`. Reads the key it made
earlier, if any, as JSON from standard input and writes `{"api_key", "webhook_secret"}` to standard output.
"""

import asyncio
import json
import sys

from cli.database import telling_failures
from cli.errors import CliError
from cli.records import owner_engine, secret_box
from cli.schema import upgrade
from core.settings import Settings
from core.store import keys

TENANT = "default"


async def ensure_key(known: dict[str, str | None]) -> dict[str, str | None]:
    """The stack's key and webhook secret: the known ones if the database still has the key, else new ones."""
    box = secret_box(Settings())
    async with owner_engine(Settings()) as engine:
        key = known.get("api_key")
        if key and known.get("webhook_secret") and await keys.authenticate(engine, key):
            return known
        made = await keys.create_key(engine, box, TENANT, keys.SCOPES)
        # A tenant that was there already has a secret that isn't shown again. It is this stack's own tenant: renew it.
        secret = made.webhook_secret or await keys.rotate_tenant_secret(engine, box, TENANT, keep_old=True)
        return {"api_key": made.key, "webhook_secret": secret}


def main() -> None:
    """Entry point."""
    known = json.loads(sys.stdin.read() or "{}")
    try:
        with telling_failures():
            upgrade(Settings())
            made = asyncio.run(ensure_key(known))
    except CliError as error:
        sys.exit(error.message)
    sys.stdout.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
