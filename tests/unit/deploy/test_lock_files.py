"""The lock files: complete, hashed, and free of anything that belongs to one machine."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("bootstrap", "runtime", "dev")}
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock: str) -> set[tuple[str, str]]:
    """Every (name, version) of a lock file."""
    return set(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", LOCKS[lock], re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    """The normalised names of requirement strings."""
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9-]+==)", LOCKS[lock], flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_path(lock: str) -> None:
    suspicious = re.compile(r"/|--index|--find-links|--trusted|@")
    assert [line for line in LOCKS[lock].splitlines() if suspicious.search(line)] == []


def test_what_runs_in_production_is_what_was_tested() -> None:
    assert pins("runtime") <= pins("dev")


def test_every_dependency_of_the_project_is_locked() -> None:
    project = PYPROJECT["project"]
    runtime = names(project["dependencies"]) | names(PYPROJECT["dependency-groups"]["build"])
    dev = runtime | names(PYPROJECT["dependency-groups"]["dev"])
    for extra in project["optional-dependencies"].values():
        dev |= names(extra)
    assert runtime - {name for name, _ in pins("runtime")} == set()
    assert dev - {name for name, _ in pins("dev")} == set()
    assert {name for name, _ in pins("bootstrap")} == names(PYPROJECT["dependency-groups"]["bootstrap"])
