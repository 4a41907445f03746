"""`coatcheck catalog`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.up import find_catalog
from cli.errors import CliError

if TYPE_CHECKING:
    from policies.catalog import AutoPolicy, Catalog, Deployment

_COLUMNS = ("model", "deployment", "provider", "where", "region", "endpoints", "context", "USD/M in+out")


@click.group()
def catalog() -> None:
    """Work on the file that lists models and the servers behind them."""


@catalog.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False, envvar="COATCHECK_CATALOG")
def check(file: Path | None) -> None:
    """Check a catalog file and list its models; mistakes are told with file, line and key.

    Without FILE it looks at COATCHECK_CATALOG, then ./catalog.toml. Nothing is asked of any server.
    """
    from core.catalog import CatalogError, load, missing_keys
    from policies.catalog import advice

    path = file or find_catalog(None)
    try:
        found = load(path)
    except CatalogError as error:
        raise CliError(str(error)) from None
    from cli.tables import print_table
    from cli.wording import counted

    rows = [_row(deployment) for deployment in found.deployments]
    if not rows:
        click.echo(f"warning: {path} lists no deployment, so there is no model that can be served", err=True)
        return
    print_table(rows, {name: name for name in _COLUMNS}, empty="")
    for line in (*_aliases(found), *_routes(found), *_tiers(found.auto)):
        click.echo(line)
    for sentence in advice(found):
        click.echo(f"warning: {sentence}", err=True)
    for name in missing_keys(found, os.environ):
        click.echo(f"warning: {name} is not set here; the workers need it", err=True)
    counts = f"{counted(len(found.models), 'model')}, {counted(len(rows), 'deployment')}"
    click.echo(f"{path}: {counts}, no mistakes (version {found.version})")


def _row(deployment: "Deployment") -> dict[str, Any]:
    price = deployment.price
    values = (
        deployment.model,
        deployment.name,
        deployment.provider,
        deployment.base_url or "this machine",
        deployment.region,
        sorted(deployment.endpoints),
        deployment.context_length,
        price and f"{price.input}+{price.output}",
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _aliases(found: "Catalog") -> list[str]:
    return [f"alias {alias} → {model}" for alias, model in found.aliases.items()]


def _routes(found: "Catalog") -> list[str]:
    lines = []
    for model, policy in found.policies.items():
        regions = f", regions {' > '.join(policy.regions)}" if policy.regions else ""
        chains = "".join(f", on {reason} {' > '.join(models)}" for reason, models in policy.fallbacks.items() if models)
        lines.append(f"route {model}: {policy.balance}{regions}{chains}{', hedged' if policy.hedge else ''}")
    return lines


def _tiers(auto: "AutoPolicy | None") -> list[str]:
    if auto is None:
        return []
    return [
        f"{flavour if flavour == 'auto' else f'auto:{flavour}'}: "
        + ", ".join(f"{tier} {' > '.join(models)}" for tier, models in tiers.items())
        for flavour, tiers in auto.tiers.items()
    ]
