"""`coatcheck tenants`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.database import on_database
from cli.errors import CliError
from cli.limits import OPTIONS, given_limits, in_words, limit_options, told_limits
from cli.target import database_options, database_settings, folder_of

if TYPE_CHECKING:
    from core.settings import Settings


@click.group()
def tenants() -> None:
    """Work on the owners of keys and jobs; `keys create` makes them."""


@tenants.command("set")
@click.argument("name")
@click.option(
    "--weight", type=click.FloatRange(0, 1000, min_open=True), help="Its share of the workers beside others' weights."
)
@limit_options
@click.option(
    "--no-limit", "lifted", multiple=True, type=click.Choice(list(OPTIONS)), help="Lift this limit; may be repeated."
)
@database_options
def set_(name: str, weight: float | None, lifted: tuple[str, ...], data_dir: Path | None, **options: Any) -> None:
    """Set a tenant's weight and limits. They hold for all of its keys together; what is not named stays."""
    from cli.records import change_tenant

    changes: dict[str, Any] = given_limits(options) | {OPTIONS[each]: None for each in lifted}
    if weight is not None:
        changes["weight"] = weight
    if not changes:
        raise CliError("say what to set: --weight or a limit, see `coatcheck tenants set --help`")
    outcome = on_database(change_tenant(database_settings(data_dir), name, changes))
    if not outcome.found:
        raise CliError(f"there is no tenant {name}; `coatcheck tenants list` shows them")
    click.echo(f"set {name}" + ("" if outcome.announced else "; Redis is away, so it works after up to 30 s"))


@tenants.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@database_options
def list_(as_json: bool, data_dir: Path | None) -> None:
    """List all tenants with their weights and limits."""
    from cli.records import owner_engine
    from core.store.tenants import TenantInfo, list_tenants

    settings = database_settings(data_dir)

    async def work() -> list[TenantInfo]:
        async with owner_engine(settings) as engine:
            return await list_tenants(engine)

    rows = [
        {"tenant": each.name, "weight": float(each.weight), **told_limits(each.limits)} for each in on_database(work())
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    from cli.tables import print_table

    shown = [row | {"limits": in_words(row)} for row in rows]
    columns = {"tenant": "tenant", "weight": "weight", "limits": "limits"}
    print_table(shown, columns, empty="there are no tenants yet: `coatcheck keys create --tenant NAME` makes one")


@tenants.command()
@click.option(
    "--days", type=click.IntRange(1, 400), default=30, show_default=True, help="So many days, up to today (UTC)."
)
@click.option(
    "--by", "groups", default="tenant,model", show_default=True, help="Of tenant, key, day, model, endpoint, lane."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@database_options
def usage(days: int, groups: str, as_json: bool, data_dir: Path | None) -> None:
    """Show what all tenants used and what it cost. A tenant's own keys read theirs at /v1/usage."""
    from cli.records import owner_engine
    from core.store.usage import GROUPS, names, read_usage
    from policies.costs import as_text

    by = [part.strip() for part in groups.split(",") if part.strip()]
    if not set(by) <= set(GROUPS):
        raise CliError(f"--by names some of {', '.join(GROUPS)}")
    settings = database_settings(data_dir)
    last = datetime.now(UTC).date()

    async def work() -> list[dict[str, Any]]:
        async with owner_engine(settings) as engine:
            named = await names(engine)
            rows = await read_usage(engine, None, last - timedelta(days=days - 1), last, by)
            return [
                row | {each: named.get(row[each], row[each]) for each in ("tenant", "key") if each in row}
                for row in rows
            ]

    rows = [row | {"cost_usd": as_text(row["cost_usd"])} for row in on_database(work())]
    if as_json:
        click.echo(json.dumps(rows, default=str))
        return
    from cli.tables import print_table

    told = ("jobs", "failed", "input_tokens", "output_tokens", "cost_usd", "unpriced_jobs")
    columns = {name.replace("_", " "): name for name in (*by, *told)}
    print_table(rows, columns, empty="nothing was used in these days")


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
