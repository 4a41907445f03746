"""What `up` says on its way, on the console and to a waiting parent."""

import os
import time

import click
from rich.console import Console
from rich.markup import escape


class Report:
    """Progress lines on the console; the lines also go to `parent`, a pipe of the command that waits for readiness."""

    def __init__(self, parent: int | None = None) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._parent = parent
        self._began = time.monotonic()

    def step(self, what: str) -> None:
        """Something is done."""
        self._say(f"[green]✓[/] {escape(what)} [dim]{time.monotonic() - self._began:.1f} s[/]")

    def note(self, what: str) -> None:
        """Something worth knowing."""
        self._say(f"[cyan]·[/] {escape(what)}")

    def warn(self, what: str) -> None:
        """Something went wrong and is being dealt with."""
        self._say(f"[yellow]![/] {escape(what)}")

    def ready(self, line: str) -> None:
        """The one line for programs and people alike; a waiting parent is let go."""
        click.echo(line)
        self._tell(line)
        self.dismiss()

    def dismiss(self) -> None:
        """Let a waiting parent go."""
        if self._parent is not None:
            os.close(self._parent)
            self._parent = None

    def _say(self, markup: str) -> None:
        self._console.print(markup)
        if self._parent is not None:
            self._tell(Console().render_str(markup).plain)

    def _tell(self, line: str) -> None:
        if self._parent is None:
            return
        try:
            os.write(self._parent, f"{line}\n".encode())
        except OSError:  # the parent no longer waits
            self.dismiss()
