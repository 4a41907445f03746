import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.embedding import Embedder, shared_embedder

_FOLDER = Path(__file__).parents[5] / "examples" / "texts"
_LABELLED = Path(__file__).parents[4] / "fixtures" / "local"
_NAMES = ("changelog", "fluss", "heat-pumps", "incident-report", "street-trees", "time-in-software")


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return shared_embedder()


@pytest.fixture(scope="session")
def examples() -> dict[str, str]:
    return {name: (_FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in _NAMES}


@pytest.fixture(params=_NAMES)
def example(request: pytest.FixtureRequest, examples: dict[str, str]) -> str:
    return examples[request.param]


@pytest.fixture(scope="session")
def labelled() -> Callable[[str], Any]:
    """The labelled sets of `tests/fixtures/local`, by name."""
    return lambda name: json.loads((_LABELLED / f"{name}.json").read_text(encoding="utf-8"))
