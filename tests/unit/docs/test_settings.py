"""`.env.example` against the settings classes: every setting, its default and its meaning, in both directions."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from core.settings import ApiSettings, CacheSettings, Settings, WebhookSettings, WorkerSettings

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / ".env.example").read_text()
CLASSES: tuple[type[BaseSettings], ...] = (Settings, ApiSettings, WorkerSettings, WebhookSettings, CacheSettings)
# What docker-compose.yml and the command line read by themselves.
OTHERS = {
    "COATCHECK_POSTGRES_PASSWORD", "COATCHECK_REDIS_PASSWORD", "COATCHECK_FLOWER_AUTH", "COATCHECK_SECRET_KEY",
    "COATCHECK_API_BIND", "OPENAI_API_KEY", "COATCHECK_API_URL", "COATCHECK_API_KEY", "COATCHECK_DATA_DIR",
    "COATCHECK_BEAT_SCHEDULE",
}  # fmt: skip
# A mark that `up` sets for its own children.
INTERNAL = {"COATCHECK_STACK_DIR"}
LINE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


def shown(default: Any) -> str:
    """A default as an environment variable spells it."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(shown, default))
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)


def settings_of(cls: type[BaseSettings]) -> dict[str, tuple[str, str]]:
    """Name to default and description."""
    prefix = cls.model_config["env_prefix"]
    return {
        f"{prefix}{name.upper()}": (shown(field.default), field.description or "")
        for name, field in cls.model_fields.items()
    }


EXPECTED = {name: told for cls in CLASSES for name, told in settings_of(cls).items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_setting_is_shown_commented_with_its_meaning_and_default(name: str) -> None:
    default, description = EXPECTED[name]
    assert f"# {description}\n# {name}={default}\n" in EXAMPLE


def test_nothing_is_shown_that_is_no_setting() -> None:
    assert {name for name, _ in LINE.findall(EXAMPLE)} == EXPECTED.keys() | OTHERS


def test_only_the_four_secrets_of_the_compose_file_are_left_to_fill_in() -> None:
    to_fill_in = re.findall(r"^([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE)
    assert to_fill_in == [
        ("COATCHECK_POSTGRES_PASSWORD", ""),
        ("COATCHECK_REDIS_PASSWORD", ""),
        ("COATCHECK_FLOWER_AUTH", ""),
        ("COATCHECK_SECRET_KEY", ""),
    ]


def test_the_shown_defaults_are_what_the_classes_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LINE.findall(EXAMPLE):
        if value and name in EXPECTED:
            monkeypatch.setenv(name, value)
    assert ApiSettings() == ApiSettings.model_construct()
    for cls in CLASSES:
        read = cls()
        for name, field in cls.model_fields.items():
            value = getattr(read, name)
            assert shown(value if not isinstance(value, SecretStr) else None) == shown(field.default)


def test_every_variable_that_the_code_reads_is_shown() -> None:
    sources = [
        path for folder in ("api", "workers", "core", "cli", "migrations") for path in (ROOT / folder).rglob("*.py")
    ]
    texts = [path.read_text() for path in (*sources, ROOT / "docker-compose.yml", ROOT / "Dockerfile")]
    read = {name for text in texts for name in re.findall(r"COATCHECK_[A-Z0-9_]*[A-Z0-9]\b(?!_)", text)}
    prefixes = {cls.model_config["env_prefix"].rstrip("_") for cls in CLASSES}
    assert read - prefixes - INTERNAL <= EXPECTED.keys() | OTHERS
