from pathlib import Path

from click.testing import CliRunner

from cli.main import main

ONE = '[[deployments]]\nmodel = "local/summarize"\nprovider = "local"\n'


def test_one_deployment_is_told_in_the_singular(tmp_path: Path) -> None:
    (file := tmp_path / "catalog.toml").write_text(ONE)
    result = CliRunner().invoke(main, ["catalog", "check", str(file)])
    assert result.exit_code == 0
    assert "catalog.toml: 1 deployment, no mistakes" in result.output


def test_an_empty_catalog_is_a_warning_and_no_praise(tmp_path: Path) -> None:
    (file := tmp_path / "catalog.toml").touch()
    result = CliRunner().invoke(main, ["catalog", "check", str(file)])
    assert "warning" in result.output and "no model" in result.output
    assert "no mistakes" not in result.output
