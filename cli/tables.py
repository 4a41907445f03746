"""Tables on the console."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str) -> None:
    """Print rows; `columns` maps a heading to the row's member. `empty` is said where there are none."""
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row.get(member))) for member in columns.values()))
    # In a pipe nothing is cut: the reader is a program or `less`.
    console = Console()
    (console if console.is_terminal else Console(width=400)).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
