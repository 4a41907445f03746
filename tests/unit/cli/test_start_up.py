import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cli.main import main

HEAVY = "sqlalchemy asyncpg alembic celery kombu fastapi pydantic httpx redis rich psutil supervisor numpy".split()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_starting_the_command_imports_nothing_heavy() -> None:
    script = f"import sys, cli.main; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", sorted(commands(main)), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert result.output.splitlines()[2].strip()
