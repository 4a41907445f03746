"""`coatcheck cache`."""

import json
from pathlib import Path
from typing import Any

import click

from cli.api_commands import AS_JSON, open_api
from cli.target import api_options


@click.group()
def cache() -> None:
    """See what caches would do for you. Needs a key with the scope admin."""


@cache.command()
@AS_JSON
@api_options
def shadow(as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Tell what near answers would have been worth: of the last day, by model and similarity.

    Models (or keys) whose cache has `semantic = "shadow"` are looked at.
    """
    with open_api(url, key, data_dir) as client:
        told = client.call("GET", "/v1/cache/shadow")
    if as_json:
        click.echo(json.dumps(told))
        return
    for model in told["data"]:
        _print_model(model)
    if not told["data"]:
        click.echo("nothing was recorded in the last day")
    for pair in told["doubtful"]:
        click.echo(f"doubtful ({pair['similarity']:.2f}): {pair['kept_question']!r} answered {pair['question']!r}")


def _print_model(model: dict[str, Any]) -> None:
    from cli.tables import print_table

    click.echo(f"{model['model']} by {model['embedder']}, threshold {model['threshold']:g}")
    served = {each["threshold"]: each for each in model["thresholds"]}
    rows = [
        {
            "similarity": f"{bucket['from']:.2f}-{bucket['to']:.2f}",
            "pairs": bucket["pairs"],
            "agreeing": bucket["agreeing"],
            "refused": bucket["refused_by_guard"],
            "served": served[bucket["from"]]["served"],
            "agreement": _percent(served[bucket["from"]]["agreement"]),
        }
        for bucket in model["buckets"]
    ]
    columns = {
        "similarity": "similarity", "would-be hits": "pairs", "answers agree": "agreeing", "refused by guard": "refused",
        "served from here on": "served", "of them agree": "agreement",
    }  # fmt: skip
    print_table(rows, columns, empty="no pairs")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
