"""`coatcheck doctor`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from cli.commands.up import DATA_DIR

MARKS = {"ok": click.style("✓", fg="green"), "warn": click.style("!", fg="yellow"), "fail": click.style("✗", fg="red")}


@click.command()
@DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="Print [{name, level, found, advice}].")
def doctor(data_dir: Path, as_json: bool) -> None:
    """Look at this machine and the stack and say what is missing and what to do about it.

    Exit status 1 if something needs to be done. Changes nothing.
    """
    from cli.checks import all_checks

    findings = all_checks(data_dir.resolve())
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            click.echo(f"{MARKS[finding.level]} {finding.name:<{width}}  {finding.found}")
            if finding.advice:
                click.echo(f"  {'':<{width}}  → {finding.advice}")
    if any(finding.level == "fail" for finding in findings):
        raise SystemExit(1)
