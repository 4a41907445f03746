"""The results as a table for people and as JSON for comparisons."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, shown

_VERDICT = {True: "[green]yes[/]", False: "[bold red]NO[/]", None: ""}


def table_of(figures: Sequence[Figure], title: str) -> Table:
    """Return one row for each figure, with its goal and the baseline beside it."""
    table = Table(title=title, title_justify="left")
    table.add_column("bench")
    table.add_column("what")
    for name in ("measured", "must", "reached", "baseline", "× baseline"):
        table.add_column(name, justify="center" if name == "reached" else "right", no_wrap=True)
    previous = ""
    for figure in figures:
        if figure.bench != previous and previous:
            table.add_section()
        table.add_row(
            figure.bench if figure.bench != previous else "",
            figure.name,
            f"{shown(figure.value)} {figure.unit}".strip(),
            str(figure.must or ""),
            _VERDICT[figure.passed],
            "" if figure.baseline is None else shown(figure.baseline),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
        )
        previous = figure.bench
    return table


def print_report(console: Console, figures: Sequence[Figure], machine: Mapping[str, object]) -> None:
    """Print the table, how the numbers came about, and on what machine."""
    title = "Everything on one machine: clients, API, workers, Postgres, Redis and the simulated upstream"
    console.print(table_of(figures, title))
    notes = list(dict.fromkeys(f"{figure.bench}: {figure.note}" for figure in figures if figure.note))
    for note in notes:
        console.print(f"  {note}", style="dim", highlight=False)
    console.print(
        f"  {machine.get('cores')} cores, {machine.get('processor')}, Python {machine.get('python')}, "
        f"load average before: {machine.get('load_average_before')}, after: {machine.get('load_average_after')}; "
        f"others kept {machine.get('cores_busy_before')} cores busy before",
        style="dim",
        highlight=False,
    )
    missed = [figure for figure in figures if figure.passed is False]
    judged = sum(figure.passed is not None for figure in figures)
    console.print(f"  {judged - len(missed)} of {judged} goals reached")
    if any(math.isnan(figure.value) for figure in figures):
        console.print("  [bold red]something could not be measured[/]")


def write_json(path: Path, figures: Sequence[Figure], machine: Mapping[str, object], *, quick: bool) -> None:
    """Write everything to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"machine": machine, "quick": quick, "figures": [figure.as_dict() for figure in figures]}
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
