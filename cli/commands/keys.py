"""`coatcheck keys`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.cache_rules import cache_option
from cli.database import on_database
from cli.errors import CliError
from cli.limits import given_limits, in_words, limit_options, told_limits
from cli.target import database_options, database_settings

if TYPE_CHECKING:
    from core.store.keys import KeyInfo
    from policies.cache_policy import CacheRules


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    These commands work on the database itself, so they need its URL (COATCHECK_DATABASE_URL) or a local stack.
    """


@keys.command()
@click.option("--tenant", required=True, metavar="NAME", help="Who the key is for; made by itself if it is new.")
@click.option("--scopes", default="jobs:write,jobs:read", show_default=True, help="Of jobs:write, jobs:read and admin.")
@limit_options
@cache_option
@click.option("--json", "as_json", is_flag=True, help="Print {id, key, tenant, scopes, webhook_secret}.")
@database_options
def create(
    tenant: str, scopes: str, cache: "CacheRules | None", as_json: bool, data_dir: Path | None, **options: Any
) -> None:
    """Make a key. It is shown once: only its hash is stored.

    Limits are for this key, none unless given; `tenants set` limits all of a tenant's keys together.
    """
    from cli.records import owner_engine, secret_box
    from core import ids
    from core.store.keys import NewKey, create_key
    from policies.cache_policy import NO_RULES
    from policies.limits import Limits

    settings = database_settings(data_dir)
    limits = Limits(**given_limits(options))
    names = tuple(part.strip() for part in scopes.replace(" ", ",").split(",") if part.strip())

    async def work() -> NewKey:
        async with owner_engine(settings) as engine:
            return await create_key(
                engine, secret_box(settings), tenant, names, limits.requests_per_minute, limits, cache or NO_RULES
            )

    made = on_database(work())
    told: dict[str, Any] = {
        "id": ids.encode(ids.KEY, made.id),
        "key": made.key,
        "tenant": made.tenant,
        "scopes": list(made.scopes),
        "webhook_secret": made.webhook_secret,
    }
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"key             {made.key}\nid              {told['id']}")
    click.echo(f"tenant          {made.tenant}\nscopes          {' '.join(made.scopes)}")
    if made.webhook_secret:
        click.echo(f"webhook secret  {made.webhook_secret}")
    click.echo("Keep it now, it can't be shown again.", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@database_options
def list_(as_json: bool, data_dir: Path | None) -> None:
    """List all keys, newest first; the keys themselves aren't stored."""
    from cli.records import owner_engine
    from core.store.keys import KeyInfo, list_keys

    settings = database_settings(data_dir)

    async def work() -> list[KeyInfo]:
        async with owner_engine(settings) as engine:
            return await list_keys(engine)

    rows = [_row(key) for key in on_database(work())]
    if as_json:
        click.echo(json.dumps(rows))
        return
    from cli.tables import print_table

    columns = {
        "id": "id",
        "tenant": "tenant",
        "key begins": "prefix",
        "scopes": "scopes",
        "limits": "limits",
        "created": "created_at",
        "revoked": "revoked_at",
    }
    rows = [row | {"limits": in_words(row)} for row in rows]
    print_table(rows, columns, empty="there are no keys yet: `coatcheck keys create --tenant NAME` makes one")


def _row(key: "KeyInfo") -> dict[str, Any]:
    from core import ids

    return {
        "id": ids.encode(ids.KEY, key.id),
        "tenant": key.tenant,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        **told_limits(key.limits),
        "cache": key.cache.told(),
        "created_at": _moment(key.created_at),
        "revoked_at": _moment(key.revoked_at),
    }


@keys.command()
@click.argument("key_id", metavar="ID")
@database_options
def revoke(key_id: str, data_dir: Path | None) -> None:
    """Revoke the key with this id (key_…, see `keys list`)."""
    from cli.records import revoke as revoke_key
    from core import ids

    settings = database_settings(data_dir)
    try:
        uuid = ids.decode(ids.KEY, key_id)
    except ids.InvalidId:
        raise CliError(f"{key_id} is not a key's id; `coatcheck keys list` shows them") from None
    outcome = on_database(revoke_key(settings, uuid))
    if not outcome.found:
        raise CliError(f"there is no key {key_id}; `coatcheck keys list` shows them")
    click.echo(f"revoked {key_id}" + ("" if outcome.announced else "; Redis is away, so it works for up to 30 s more"))


def _moment(value: datetime | None) -> str | None:
    """The API's form of a time, without the milliseconds."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if value else None
