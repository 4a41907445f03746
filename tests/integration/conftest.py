"""What holds for all tests against real servers."""

import pytest


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls for a moment is no cache that is away: what was kept is to be found all the same."""
    monkeypatch.setenv("COATCHECK_CACHE_WAIT_S", "5")
    monkeypatch.setenv("COATCHECK_CACHE_SEMANTIC_WAIT_S", "5")
