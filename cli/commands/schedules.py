"""`coatcheck schedules`."""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cli.errors import CliError
from cli.target import api_options, api_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.client import ApiClient

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
_PATH = "/v1/schedules"
_COUNTS = ("planned", "skipped_fresh", "submitted", "succeeded", "failed", "over_budget", "tokens", "cost")


@click.group()
def schedules() -> None:
    """Let jobs run by the clock: recurring jobs, cache prewarming, keeping models warm. Needs a key with the scope admin."""


@contextmanager
def _client(url: str | None, key: str | None, data_dir: Path | None) -> "Iterator[ApiClient]":
    from cli.client import ApiClient

    with ApiClient(api_target(url, key, data_dir)) as client:
        yield client


@schedules.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@AS_JSON
@api_options
def create(file: IO[str], as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Create a schedule from the JSON in FILE (`-` is standard input).

    \b
      {"name": "Nightly", "kind": "prewarm", "cron": "0 3 * * *", "timezone": "Europe/Berlin",
       "template": {"endpoint": "/v1/chat/completions", "body": {"model": "…", "messages": […"{{segment}}"…]}},
       "matrix": {"segment": ["families", "students"]}}
    """  # noqa: D301 - click reads the backspace as: keep these lines as they are
    with _client(url, key, data_dir) as client:
        _print(client.call("POST", _PATH, body=_from_file(file)), as_json)


@schedules.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", metavar="ID", help="The next page: the last id of this one.")
@AS_JSON
@api_options
def list_(
    limit: int, after: str | None, as_json: bool, url: str | None, key: str | None, data_dir: Path | None
) -> None:
    """List schedules, newest first."""
    with _client(url, key, data_dir) as client:
        page = client.call("GET", _PATH, query={"limit": limit, "after": after})
    rows = [row | {"next": (row.get("next_runs") or ["paused"])[0]} for row in page.get("data", [])]
    _print_page(page, rows, ("id", "name", "kind", "cron", "timezone", "next"), as_json, empty="no schedules")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def get(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Show a schedule and its next five times."""
    with _client(url, key, data_dir) as client:
        _print(client.call("GET", _of(schedule_id)), as_json)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def pause(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Pause a schedule; a run that goes on is not touched."""
    with _client(url, key, data_dir) as client:
        _print(client.call("PATCH", _of(schedule_id), body={"paused": True}), as_json)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def resume(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Let a paused schedule run again, from its next time on."""
    with _client(url, key, data_dir) as client:
        _print(client.call("PATCH", _of(schedule_id), body={"paused": False}), as_json)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def run(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Start a run now."""
    with _client(url, key, data_dir) as client:
        begun = client.call("POST", _of(schedule_id) + "/run")
    click.echo(json.dumps(begun) if as_json else f"{begun.get('id')} is {begun.get('status')}")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--after", metavar="ID", help="The next page: the last id of this one.")
@AS_JSON
@api_options
def runs(
    schedule_id: str,
    limit: int,
    after: str | None,
    as_json: bool,
    url: str | None,
    key: str | None,
    data_dir: Path | None,
) -> None:
    """List a schedule's runs, newest first, with what they did."""
    with _client(url, key, data_dir) as client:
        page = client.call("GET", _of(schedule_id) + "/runs", query={"limit": limit, "after": after})
    columns = ("id", "scheduled_for", "status", "reason", *_COUNTS)
    _print_page(page, page.get("data", []), columns, as_json, empty="no runs")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@api_options
def delete(schedule_id: str, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Delete a schedule and its list of runs; jobs that it has made go on."""
    with _client(url, key, data_dir) as client:
        client.call("DELETE", _of(schedule_id))
    click.echo(f"deleted {schedule_id}")


def _from_file(file: IO[str]) -> dict[str, Any]:
    try:
        told = json.load(file)
    except ValueError as error:
        raise CliError(f"{file.name} is not valid JSON: {error}") from None
    if not isinstance(told, dict):
        raise CliError(f"{file.name} must hold one JSON object, a schedule with `kind`, `cron` and `template`")
    return told


def _of(schedule_id: str) -> str:
    """The path of a schedule: nothing but an id may get into it."""
    if not schedule_id.replace("_", "").isalnum():
        raise CliError(f"{schedule_id} is not a schedule's id")
    return f"{_PATH}/{schedule_id}"


def _print(schedule: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(schedule))
        return
    for name in ("id", "name", "kind", "cron", "timezone"):
        click.echo(f"{name:10} {schedule.get(name)}")
    times = schedule.get("next_runs") or ["paused"]
    click.echo(f"{'next':10} " + f"\n{'':11}".join(times))


def _print_page(
    page: dict[str, Any], rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, *, empty: str
) -> None:
    if as_json:
        click.echo(json.dumps(page))
        return
    from cli.tables import print_table

    print_table(rows, {name: name for name in columns}, empty=empty)
    if page.get("has_more"):
        click.echo(f"more: --after {page.get('last_id')}")
