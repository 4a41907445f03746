"""`coatcheck tenants`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.database import on_database
from cli.errors import CliError
from cli.target import database_options, database_settings, folder_of

if TYPE_CHECKING:
    from core.settings import Settings


@click.group()
def tenants() -> None:
    """Work on the owners of keys and jobs; `keys create` makes them."""


@tenants.command("rotate-secret")
@click.argument("name")
@click.option("--keep-old", is_flag=True, help="Let the old secret sign along for 24 hours.")
@click.option("--json", "as_json", is_flag=True, help="Print {tenant, webhook_secret}.")
@database_options
def rotate_secret(name: str, keep_old: bool, as_json: bool, data_dir: Path | None) -> None:
    """Renew the secret that signs webhooks to the URLs named in jobs."""
    from cli.records import owner_engine, secret_box
    from core.store.keys import rotate_tenant_secret

    settings = database_settings(data_dir)

    async def work() -> str | None:
        async with owner_engine(settings) as engine:
            return await rotate_tenant_secret(engine, secret_box(settings), name, keep_old=keep_old)

    secret = on_database(work())
    if secret is None:
        raise CliError(f"there is no tenant {name}")
    _keep(settings, data_dir, name, secret)
    click.echo(json.dumps({"tenant": name, "webhook_secret": secret}) if as_json else secret)


def _keep(settings: "Settings", data_dir: Path | None, tenant: str, secret: str) -> None:
    """Where a local stack keeps the secret of its own tenant, the old one must not stay."""
    from cli.stack.state import OWN_TENANT, renew_webhook_secret

    folder = folder_of(settings, data_dir)
    if tenant == OWN_TENANT and folder is not None:
        renew_webhook_secret(folder, secret)
