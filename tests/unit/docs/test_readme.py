"""The README's snippets against the code: they parse, and the commands and targets that they name exist."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from cli.main import main
from policies.catalog import parse

ROOT = Path(__file__).parents[3]
DOCUMENTS = {name: (ROOT / name).read_text() for name in ("README.md", "docs/operations.md", "CONTRIBUTING.md")}
README = DOCUMENTS["README.md"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_are_python(code: str) -> None:
    compile(code, "README.md", "exec")


def test_the_catalog_snippet_is_a_valid_catalog() -> None:
    (snippet,) = blocks("toml")
    catalog, problems = parse(tomllib.loads(snippet), cores=2)
    assert problems == []
    assert len(catalog.deployments) == 2


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make (\w+)", DOCUMENTS[name]))
    assert named <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_coatcheck_command_that_is_named_exists(name: str) -> None:
    context = click.Context(main)
    for named, below in set(re.findall(r"(?:`|/|api )coatcheck (\w+)(?: ([a-z][a-z-]+)\b)?", DOCUMENTS[name])):
        command = main.get_command(context, named)
        assert command is not None, named
        if below and isinstance(command, click.Group):
            assert command.get_command(context, below) is not None, f"{named} {below}"


def test_both_commands_of_a_newcomer_come_first() -> None:
    assert re.findall(r"^\$ (make \w+)", README, re.MULTILINE)[:2] == ["make demo", "make test"]


def test_nothing_is_left_to_fill_in_by_a_script() -> None:
    assert "@@" not in README
