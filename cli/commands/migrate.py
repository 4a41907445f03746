"""`coatcheck migrate`."""

from pathlib import Path

import click

from cli.database import on_database, telling_failures
from cli.target import database_options, database_settings


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 if there is something to migrate.")
@database_options
def migrate(check: bool, data_dir: Path | None) -> None:
    """Bring the database schema up to date.

    Safe to repeat and to run from several machines at once. `coatcheck up` does it by itself.
    """
    from cli.schema import make_vectors, schema_state, upgrade

    settings = database_settings(data_dir)
    state = on_database(schema_state(settings))
    if state.is_current:
        click.echo(f"the schema is current ({state.newest})")
        if not check:
            # pgvector may have been installed since.
            _tell_of_vectors(on_database(make_vectors(settings)))
        return
    if check:
        click.echo(f"the schema is at {state.current or 'nothing'}, the program needs {state.newest}", err=True)
        raise SystemExit(1)
    with telling_failures():
        upgrade(settings)
    _tell_of_vectors(on_database(make_vectors(settings)))
    click.echo(f"migrated from {state.current or 'an empty database'} to {state.newest}")


def _tell_of_vectors(reason: str | None) -> None:
    if reason is not None:
        click.echo(f"no semantic cache: {reason}", err=True)
