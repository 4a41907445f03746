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
    columns = {name: name for name in ("model", "deployment", "provider", "where", "endpoints")}
    print_table(rows, columns, empty="the catalog lists no deployment")
    for name in missing_keys(found, os.environ):
        click.echo(f"warning: {name} is not set here; the workers need it", err=True)
    click.echo(f"{path}: {len(rows)} deployments, no mistakes")
