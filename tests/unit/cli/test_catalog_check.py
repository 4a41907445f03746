from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main

ONE = '[[deployments]]\nmodel = "local/summarize"\nprovider = "local"\n'


def test_one_deployment_is_told_in_the_singular(tmp_path: Path) -> None:
    (file := tmp_path / "catalog.toml").write_text(ONE)
    result = CliRunner().invoke(main, ["catalog", "check", str(file)])
    assert result.exit_code == 0
    assert "catalog.toml: 1 model, 1 deployment, no mistakes" in result.output


def test_an_empty_catalog_is_a_warning_and_no_praise(tmp_path: Path) -> None:
    (file := tmp_path / "catalog.toml").touch()
    result = CliRunner().invoke(main, ["catalog", "check", str(file)])
    assert "warning" in result.output and "no model" in result.output
    assert "no mistakes" not in result.output


def test_what_is_missing_is_told_and_how_jobs_are_routed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    (file := tmp_path / "catalog.toml").write_text(
        """[[deployments]]
model = "small"
provider = "openai"
base_url = "http://h/v1"
api_key_env = "SOME_KEY"
price = { input = 0.25, output = 2 }
[[deployments]]
model = "large"
provider = "openai"
base_url = "http://h/v1"
[aliases]
"default" = "small"
[models.small]
balance = "cheapest"
fallbacks = { outage = ["large", "sim/chat"] }
[auto]
simple = ["default"]
"""
    )
    result = CliRunner().invoke(main, ["catalog", "check", str(file)])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "0.25+2" in lines[1]
    assert "alias default → small" in lines
    assert "route small: cheapest, on outage large > sim/chat" in lines
    assert "auto:best: simple small, medium small, complex small, reasoning small" in lines
    assert any(line.startswith("warning: no price: large;") for line in lines)
    assert "warning: SOME_KEY is not set here; the workers need it" in lines
    assert "warning: served only while the simulator runs: sim/chat" in lines
    assert lines[-1].startswith(f"{file}: 2 models, 2 deployments, no mistakes (version ")


def test_mistakes_are_listed_with_their_lines_and_end_with_an_error(tmp_path: Path) -> None:
    (file := tmp_path / "catalog.toml").write_text(ONE + '[aliases]\n"a" = "b"\n')
    result = CliRunner().invoke(main, ["catalog", "check", str(file)])
    assert result.exit_code != 0
    assert f'{file}:5: aliases.a: unknown model "b"' in result.output
