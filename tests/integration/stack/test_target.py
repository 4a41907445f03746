import json
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.target import ApiTarget, api_target, database_settings


@pytest.fixture(autouse=True)
def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stack and no variables but those of the test."""
    monkeypatch.chdir(folder)
    for name in ("API_URL", "API_KEY", "DATABASE_URL", "SECRET_KEY"):
        monkeypatch.delenv(f"COATCHECK_{name}", raising=False)


def write_stack(place: Path) -> None:
    place.mkdir()
    urls = {name: f"{name}-of-the-stack" for name in ("database_url", "redis_url", "broker_url")}
    stack = {"api_url": "http://127.0.0.1:8000", "api_key": "cc_local", **urls}
    (place / "stack.json").write_text(json.dumps(stack))


def test_without_anything_it_says_how_to_start() -> None:
    with pytest.raises(CliError, match="coatcheck up"):
        api_target(None, None, None)
    with pytest.raises(CliError, match="coatcheck up"):
        database_settings(None)


def test_the_local_stack_is_the_last_resort(folder: Path) -> None:
    write_stack(folder / ".coatcheck")
    assert api_target(None, None, None) == ApiTarget("http://127.0.0.1:8000", "cc_local")


def test_the_environment_beats_the_local_stack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(folder / ".coatcheck")
    monkeypatch.setenv("COATCHECK_API_URL", "https://jobs.example/")
    monkeypatch.setenv("COATCHECK_API_KEY", "cc_env")
    assert api_target(None, None, None) == ApiTarget("https://jobs.example", "cc_env")


def test_a_flag_beats_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(folder / "other")
    monkeypatch.setenv("COATCHECK_API_URL", "https://jobs.example")
    monkeypatch.setenv("COATCHECK_API_KEY", "cc_env")
    assert api_target("http://flag", "cc_flag", None) == ApiTarget("http://flag", "cc_flag")
    assert api_target(None, None, folder / "other") == ApiTarget("http://127.0.0.1:8000", "cc_local")


def test_the_local_key_is_never_sent_to_another_address(folder: Path) -> None:
    write_stack(folder / ".coatcheck")
    with pytest.raises(CliError, match=r"no API key for https://elsewhere\.example"):
        api_target("https://elsewhere.example", None, None)


def test_database_commands_prefer_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(folder / ".coatcheck")
    assert database_settings(None).database_url == "database_url-of-the-stack"
    monkeypatch.setenv("COATCHECK_DATABASE_URL", "postgresql+asyncpg://u@h/d")
    assert database_settings(None).database_url == "postgresql+asyncpg://u@h/d"
