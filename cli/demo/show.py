"""What the demo says: numbered steps with live progress on a terminal, plain lines everywhere else."""

import re
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.stack.report import Report

_WIDEST = 110


class Show(Report):
    """The demo's voice. It is also the stack's, so that its start and a restarted worker are told in the same place."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False, soft_wrap=True)
        self._number = 0
        self._column = 0
        self.current = "starting the stack"
        self.quiet = False

    def title(self, text: str) -> None:
        """The first line."""
        self._console.print(f"[bold]{escape(text)}[/]")

    def scene(self, text: str) -> None:
        """A new step begins."""
        self._number += 1
        self.current = f"step {self._number} ({text})"
        self._console.print(f"\n[bold]{self._number} · {escape(text)}[/]")

    def say(self, text: str) -> None:
        """Something happened."""
        self._console.print(f"  {escape(text)}")

    def good(self, text: str) -> None:
        """Something that the demo promised is so."""
        self._console.print(f"  [green]✓[/] {escape(text)}")

    def quote(self, text: str, *, lines: int) -> None:
        """Show the beginning of a text that a model wrote."""
        width = min(self._console.width, _WIDEST) - 6
        wrapped = [row for part in text.splitlines() if part for row in textwrap.wrap(part, width)]
        for row in wrapped[:lines]:
            self._console.print(f"    [cyan]{escape(row)}[/]")
        if len(wrapped) > lines:
            self._console.print("    [dim]…[/]")

    def piece(self, text: str) -> None:
        """Show a piece of streamed text right away; lines are broken between words."""
        for word in re.findall(r"\s*\S+|\s+", text):
            if self._column == 0 or self._column + len(word) > min(self._console.width, _WIDEST) - 2:
                self._console.print("\n    " if self._column else "    ", end="")
                self._column, word = 4, word.lstrip()  # noqa: PLW2901 - a line does not begin with a blank
            self._console.print(f"[cyan]{escape(word)}[/]", end="")
            self._column += len(word)

    def end_pieces(self) -> None:
        """The stream has ended: end its line."""
        self._console.print()
        self._column = 0

    def line(self, text: str = "") -> None:
        """A line as it is."""
        self._console.print(escape(text))

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> None:
        """Show rows under a head. The first `left` columns are words, the others numbers, which end below each other."""
        lines = [head, *rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for number, line in enumerate(lines):
            cells = [
                cell.ljust(width) if place < left else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            text = escape("  ".join(cells).rstrip())
            self._console.print(f"    [dim]{text}[/]" if number == 0 else f"    {text}")

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how many of `total` are done, a bar on a terminal, else a line for every quarter; nothing without `what`."""
        if not what:
            yield lambda _: None
            return
        if not self._console.is_terminal:
            yield self._quarters(what, total)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)

    def _quarters(self, what: str, total: int) -> Callable[[int], None]:
        told = 0

        def update(done: int) -> None:
            nonlocal told
            quarter = 4 * done // total
            if quarter > told:
                told = quarter
                self.say(f"{what}: {done} of {total}")

        return update

    def _say(self, markup: str) -> None:
        if not self.quiet:
            self._console.print(f"  {markup}")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began
