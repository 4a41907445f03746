"""What commands that ask the API have in common: options, the connection, pages on the console."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cli.errors import CliError
from cli.target import Command, api_target

if TYPE_CHECKING:
    from cli.client import ApiClient

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")


def page_options(command: Command) -> Command:
    """Add --limit and --after to a command that shows a page."""
    limit = click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
    after = click.option("--after", metavar="ID", help="The next page: the last id of this one.")
    return limit(after(command))


@contextmanager
def open_api(url: str | None, key: str | None, data_dir: Path | None) -> "Iterator[ApiClient]":
    """Connect to the API that the options name.

    Raises:
        CliError: that says what to do, when there is none or no key for it.
    """
    from cli.client import ApiClient

    with ApiClient(api_target(url, key, data_dir)) as client:
        yield client


def id_in_path(text: str, what: str) -> str:
    """Return an id as part of a path: nothing else may get in.

    Raises:
        CliError: when it is none; ``what`` says whose it should be.
    """
    if not text.replace("_", "").isalnum():
        raise CliError(f"{text} is not a {what}'s id")
    return text


def json_object(file: IO[str], what: str) -> dict[str, Any]:
    """Return the object that stands in an open file.

    Raises:
        CliError: when there is none; ``what`` says what it should be.
    """
    try:
        told = json.load(file)
    except ValueError as error:
        raise CliError(f"{file.name} is not valid JSON: {error}") from None
    if not isinstance(told, dict):
        raise CliError(f"{file.name} must hold one JSON object, {what}")
    return told


def print_page(
    page: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool, *, empty: str
) -> None:
    """Print a page of the API: its JSON, or ``rows`` as a table and how to go on. ``empty`` is said where there are none."""
    if as_json:
        click.echo(json.dumps(page))
        return
    from cli.tables import print_table

    print_table(rows, {name: name for name in columns}, empty=empty)
    if page.get("has_more"):
        click.echo(f"more: --after {page.get('last_id')}")
