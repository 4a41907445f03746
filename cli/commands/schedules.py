"""`coatcheck schedules`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click

from cli.api_commands import AS_JSON, id_in_path, json_object, open_api, page_options, print_page
from cli.errors import CliError
from cli.target import api_options

_PATH = "/v1/schedules"
_SCHEDULE = "a schedule with `kind`, `cron` and `template`"
_CHOICE = ("probability", "expected_saved_ms", "cost_usd", "model", "job_id", "reason")
_COUNTS = ("planned", "skipped_fresh", "submitted", "succeeded", "failed", "over_budget", "tokens", "cost")


@click.group()
def schedules() -> None:
    """Let jobs run by the clock: recurring jobs, cache prewarming, keeping models warm. Needs a key with the scope admin."""


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

    With "matrix": "learned" and "template": {} a prewarm chooses from what was asked for in the last weeks.
    """  # noqa: D301 - click reads the backspace as: keep these lines as they are
    with open_api(url, key, data_dir) as client:
        _print(client.call("POST", _PATH, body=json_object(file, _SCHEDULE)), as_json)


@schedules.command("list")
@page_options
@AS_JSON
@api_options
def list_(
    limit: int, after: str | None, as_json: bool, url: str | None, key: str | None, data_dir: Path | None
) -> None:
    """List schedules, newest first."""
    with open_api(url, key, data_dir) as client:
        page = client.call("GET", _PATH, query={"limit": limit, "after": after})
    rows = [row | {"kind": _kind(row), "next": (row.get("next_runs") or ["paused"])[0]} for row in page.get("data", [])]
    print_page(page, rows, ("id", "name", "kind", "cron", "timezone", "next"), as_json, empty="no schedules")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def get(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Show a schedule and its next five times."""
    with open_api(url, key, data_dir) as client:
        _print(client.call("GET", _of(schedule_id)), as_json)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def pause(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Pause a schedule; a run that goes on is not touched."""
    with open_api(url, key, data_dir) as client:
        _print(client.call("PATCH", _of(schedule_id), body={"paused": True}), as_json)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def resume(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Let a paused schedule run again, from its next time on."""
    with open_api(url, key, data_dir) as client:
        _print(client.call("PATCH", _of(schedule_id), body={"paused": False}), as_json)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@AS_JSON
@api_options
def run(schedule_id: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Start a run now."""
    with open_api(url, key, data_dir) as client:
        begun = client.call("POST", _of(schedule_id) + "/run")
    click.echo(json.dumps(begun) if as_json else f"{begun.get('id')} is {begun.get('status')}")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@page_options
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
    with open_api(url, key, data_dir) as client:
        page = client.call("GET", _of(schedule_id) + "/runs", query={"limit": limit, "after": after})
    columns = ("id", "scheduled_for", "status", "reason", *_COUNTS)
    print_page(page, page.get("data", []), columns, as_json, empty="no runs")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@click.option("--run", "run_id", metavar="RUN", help="One of its last hundred runs; by default the newest that chose.")
@AS_JSON
@api_options
def choices(
    schedule_id: str, run_id: str | None, as_json: bool, url: str | None, key: str | None, data_dir: Path | None
) -> None:
    """Show what a run of a learned prewarm chose to warm, and why."""
    with open_api(url, key, data_dir) as client:
        page = client.call("GET", _of(schedule_id) + "/runs", query={"limit": 100})
    runs = [each for each in page.get("data", []) if each["id"] == run_id or run_id is None]
    chosen = next((each for each in runs if each.get("choices") is not None), None)
    if chosen is None:
        raise CliError(f"{run_id or schedule_id} has chosen nothing: only runs of a learned prewarm choose")
    if as_json:
        click.echo(json.dumps(chosen["choices"]))
        return
    from cli.tables import print_table

    click.echo(
        f"{chosen['id']}  {chosen['scheduled_for']}  {chosen['planned']} chosen, {chosen['over_budget']} over budget"
    )
    print_table(chosen["choices"], {name: name for name in _CHOICE}, empty=chosen.get("message") or "nothing chosen")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@api_options
def delete(schedule_id: str, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Delete a schedule and its list of runs; jobs that it has made go on."""
    with open_api(url, key, data_dir) as client:
        client.call("DELETE", _of(schedule_id))
    click.echo(f"deleted {schedule_id}")


def _of(schedule_id: str) -> str:
    return f"{_PATH}/{id_in_path(schedule_id, 'schedule')}"


def _print(schedule: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(schedule))
        return
    for name, value in (schedule | {"kind": _kind(schedule)}).items():
        if name in {"id", "name", "kind", "cron", "timezone"}:
            click.echo(f"{name:10} {value}")
    times = schedule.get("next_runs") or ["paused"]
    click.echo(f"{'next':10} " + f"\n{'':11}".join(times))


def _kind(schedule: Mapping[str, Any]) -> str:
    """What it does, in a word or two."""
    return f"{schedule.get('kind')}, learned" if schedule.get("matrix") == "learned" else str(schedule.get("kind"))
