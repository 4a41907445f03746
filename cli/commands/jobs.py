"""`coatcheck jobs`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.api_commands import AS_JSON, id_in_path, json_object, open_api, page_options, print_page
from cli.job_request import from_text
from cli.job_view import print_event, print_job
from cli.target import api_options

if TYPE_CHECKING:
    from cli.client import ApiClient

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
_REQUEST = "a job request with `endpoint` and `body`"
LANES = click.Choice(["interactive", "default", "bulk"])


@click.group()
def jobs() -> None:
    """Submit AI jobs and follow, list, cancel or retry them."""


@jobs.command()
@click.argument("file", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--model", help="Model to ask, with --text.")
@click.option("--text", help="What to say to the model or to embed; `-` reads standard input.")
@click.option("--endpoint", help="Operation.  [default: what the model serves]")
@click.option("--lane", type=LANES, help="Urgency.  [default: default]")
@click.option("--priority", type=click.IntRange(0, 9), help="9 first.  [default: 5]")
@click.option("--delay", type=float, metavar="SECONDS", help="Don't start before.")
@click.option("--idempotency-key", help="The same key and job again gives the first one back.")
@click.option("--webhook", metavar="URL", help="Where to send the end of the job.")
@click.option("--metadata", "-m", multiple=True, metavar="NAME=VALUE", help="Kept with the job; repeatable.")
@click.option("--stream", is_flag=True, help="Show the text as it is made.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the result.")
@AS_JSON
@api_options
def submit(  # noqa: PLR0913 - one parameter for each option
    *,
    file: Any,
    model: str | None,
    text: str | None,
    endpoint: str | None,
    lane: str | None,
    priority: int | None,
    delay: float | None,
    idempotency_key: str | None,
    webhook: str | None,
    metadata: tuple[str, ...],
    stream: bool,
    wait: bool,
    as_json: bool,
    url: str | None,
    key: str | None,
    data_dir: Path | None,
) -> None:
    """Submit a job: the JSON job request in FILE (`-` is standard input), or --model and --text.

    \b
      coatcheck jobs submit --model local/summarize --text - --wait < article.txt
      coatcheck jobs submit request.json --lane interactive
    """  # noqa: D301 - click reads the backspace as: keep these lines as they are
    if file is None and (model is None or text is None):
        raise click.UsageError("give a FILE with a job request, or --model and --text")
    options = {"endpoint": endpoint, "lane": lane, "priority": priority, "delay_s": delay}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    with open_api(url, key, data_dir) as client:
        request = json_object(file, _REQUEST) if file else from_text(client, model or "", text or "", endpoint)
        request |= {name: value for name, value in options.items() if value is not None}
        if stream:
            request["body"] = {**request.get("body", {}), "stream": True}
        if webhook:
            request["webhook"] = {"url": webhook}
        if metadata:
            request["metadata"] = {**request.get("metadata", {}), **_pairs(metadata)}
        job = client.call("POST", "/v1/jobs", body=request, headers=headers)
        if stream or wait:
            job = _follow(client, job, quiet=as_json, deltas=stream)
    _finish(job, as_json, watched=stream)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", type=click.IntRange(0, 60), help="Wait up to so many seconds for the end.")
@AS_JSON
@api_options
def get(job_id: str, wait: int | None, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Show a job and, once it is done, its result."""
    with open_api(url, key, data_dir) as client:
        job = client.call("GET", f"/v1/jobs/{id_in_path(job_id, 'job')}", query={"wait": wait})
    _print(job, as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--after", type=click.IntRange(0), default=0, help="Begin after this event's number.")
@AS_JSON
@api_options
def watch(job_id: str, after: int, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Follow a job's events to its end; exit status 1 if it does not succeed. --json prints one event a line."""
    last: dict[str, Any] = {}
    with open_api(url, key, data_dir) as client:
        for event in client.events(id_in_path(job_id, "job"), after):
            if as_json:
                click.echo(json.dumps({"id": event.id, "event": event.type, "data": event.data}))
            else:
                print_event(event.type, event.data)
            last = event.data
    if last.get("status") != "succeeded":
        raise SystemExit(1)


@jobs.command("list")
@click.option("--status", help="queued, running, succeeded, failed, cancelled or expired.")
@click.option("--lane", type=LANES)
@click.option("--model")
@click.option("--group", "group_id", help="Jobs of this group.")
@click.option("--metadata", "-m", multiple=True, metavar="NAME=VALUE", help="With this metadata; repeatable.")
@page_options
@AS_JSON
@api_options
def list_(  # noqa: PLR0913 - one parameter for each option
    *,
    status: str | None,
    lane: str | None,
    model: str | None,
    group_id: str | None,
    metadata: tuple[str, ...],
    limit: int,
    after: str | None,
    as_json: bool,
    url: str | None,
    key: str | None,
    data_dir: Path | None,
) -> None:
    """List jobs, newest first."""
    query: dict[str, str | int | None] = {
        "status": status,
        "lane": lane,
        "model": model,
        "group_id": group_id,
        "limit": limit,
        "after": after,
    }
    query |= {f"metadata[{name}]": value for name, value in _pairs(metadata).items()}
    with open_api(url, key, data_dir) as client:
        page = client.call("GET", "/v1/jobs", query=query)
    columns = ("id", "status", "lane", "model", "attempts", "created_at", "finished_at")
    print_page(page, page.get("data", []), columns, as_json, empty="no jobs")


@jobs.command()
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@AS_JSON
@api_options
def cancel(job_ids: tuple[str, ...], as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Cancel jobs; a running model call is really stopped."""
    _each("cancel", job_ids, as_json, url, key, data_dir)


@jobs.command()
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@AS_JSON
@api_options
def retry(job_ids: tuple[str, ...], as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Queue failed, cancelled or expired jobs again."""
    _each("retry", job_ids, as_json, url, key, data_dir)


def _each(
    what: str, job_ids: tuple[str, ...], as_json: bool, url: str | None, key: str | None, data_dir: Path | None
) -> None:
    with open_api(url, key, data_dir) as client:
        for job_id in job_ids:
            job = client.call("POST", f"/v1/jobs/{id_in_path(job_id, 'job')}/{what}")
            click.echo(json.dumps(job) if as_json else f"{job.get('id')} is {job.get('status')}")


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    if any("=" not in text for text in texts):
        raise click.UsageError("--metadata wants NAME=VALUE")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _follow(client: "ApiClient", job: dict[str, Any], *, quiet: bool, deltas: bool) -> dict[str, Any]:
    """Wait for the job's end, showing its text as it comes."""
    if not deltas:
        while job.get("status") not in TERMINAL:
            job = client.call("GET", f"/v1/jobs/{job['id']}", query={"wait": 60})
        return job
    for event in client.events(job["id"]):
        if not quiet and event.type == "job.delta":
            click.echo(event.data.get("delta", ""), nl=False)
        if event.data.get("object") == "job":
            job = event.data
    if not quiet:
        click.echo()
    return job


def _finish(job: dict[str, Any], as_json: bool, *, watched: bool) -> None:
    if watched and not as_json and job.get("status") == "succeeded":
        return
    _print(job, as_json)
    if job.get("status") in TERMINAL - {"succeeded"}:
        raise SystemExit(1)


def _print(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(job))
    else:
        print_job(job)
