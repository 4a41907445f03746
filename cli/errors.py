"""Errors of the command line: one sentence that says what to do, never a traceback."""

import sys
from typing import IO, Any

import click


class CliError(click.ClickException):
    """Ends the command with exit status 1 and this message."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        click.echo(f"{click.style('error:', fg='red')} {self.message}", file=file or sys.stderr)
