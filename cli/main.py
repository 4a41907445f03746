"""The `coatcheck` command."""

import click

from cli.commands.cache import cache
from cli.commands.catalog import catalog
from cli.commands.demo import demo
from cli.commands.doctor import doctor
from cli.commands.jobs import jobs
from cli.commands.keys import keys
from cli.commands.migrate import migrate
from cli.commands.schedules import schedules
from cli.commands.tenants import tenants
from cli.commands.up import down, up


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="coatcheck")
def main() -> None:
    """Coatcheck: hand over AI jobs, get a ticket at once, collect the results later.

    \b
    A first try on this machine:
      coatcheck up                      start everything and print the API's address and key
      coatcheck jobs submit --model local/summarize --text "…" --wait
      coatcheck down                    stop it (in another terminal, or after `up --detach`)

    Commands find their stack by --url and --key or --data-dir, else by COATCHECK_API_URL and COATCHECK_API_KEY, else in
    the folder .coatcheck.
    """  # noqa: D301 - click reads the backspace as: keep these lines as they are


for command in (up, down, demo, jobs, schedules, keys, tenants, catalog, cache, migrate, doctor):
    main.add_command(command)
