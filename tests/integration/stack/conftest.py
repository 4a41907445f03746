import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.leftovers import end_leftovers


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory with a short path; whatever still runs in it is ended."""
    made = Path(tempfile.mkdtemp(prefix="cc-st-", dir="/tmp")).resolve()
    yield made
    end_leftovers(made)
    shutil.rmtree(made)


@pytest.fixture
def long_folder() -> Iterator[Path]:
    """A data directory whose path has more than 120 characters."""
    base = Path(tempfile.mkdtemp(prefix="cc-st-", dir="/tmp")).resolve()
    made = base / ("long-" * 24) / "data"
    yield made
    end_leftovers(made)
    shutil.rmtree(base)


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can hand Postgres to another user")
