"""`coatcheck catalog`."""

import os
from pathlib import Path

import click

from cli.commands.up import find_catalog
from cli.errors import CliError


@click.group()
def catalog() -> None:
    """Work on the file that lists models and the servers behind them."""


@catalog.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False, envvar="COATCHECK_CATALOG")
def check(file: Path | None) -> None:
    """Check a catalog file and list its models; mistakes are told with file, line and key.

    Without FILE it looks at COATCHECK_CATALOG, then ./catalog.toml.
    """
    from core.catalog import CatalogError, load, missing_keys

    path = file or find_catalog(None)
    try:
        found = load(path)
    except CatalogError as error:
        raise CliError(str(error)) from None
    from cli.tables import print_table
    from cli.wording import counted

    rows = [
        {
            "model": deployment.model,
            "deployment": deployment.name,
            "provider": deployment.provider,
            "where": deployment.base_url or "this machine",
            "endpoints": sorted(deployment.endpoints),
        }
        for deployment in found.deployments
    ]
    if not rows:
        click.echo(f"warning: {path} lists no deployment, so there is no model that can be served", err=True)
        return
    print_table(rows, {name: name for name in ("model", "deployment", "provider", "where", "endpoints")}, empty="")
    for name in missing_keys(found, os.environ):
        click.echo(f"warning: {name} is not set here; the workers need it", err=True)
    click.echo(f"{path}: {counted(len(rows), 'deployment')}, no mistakes")
