import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.simulator.models import MODELS
from core.catalog import SIMULATED, CatalogError, load, missing_keys
from policies.catalog import Deployment
from policies.catalog.simulated import SIMULATED_MODELS

SHIPPED = Path(__file__).resolve().parents[3] / "catalog.toml"


def refused(folder: Path, text: str) -> list[str]:
    file = folder / "catalog.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        load(file)
    return [line.removeprefix(str(file)) for line in caught.value.problems]


def test_the_shipped_catalog_is_good_and_needs_no_server() -> None:
    catalog = load(SHIPPED)
    assert catalog.models == ("local/embed", "local/summarize", "local/keypoints", "local/classify", "local/rerank")
    assert not catalog.has_provider("openai")


def test_every_example_in_the_shipped_catalog_works_when_uncommented(tmp_path: Path) -> None:
    text = re.sub(r'(?m)^# (?=\[|"?[a-z_]+"? = )', "", SHIPPED.read_text(encoding="utf-8"))
    # The list of tables and keys at the top is no example.
    text = text[text.index("# --- Models") :]
    file = tmp_path / "catalog.toml"
    file.write_text(text, encoding="utf-8")
    catalog = load(file)
    assert len(catalog.deployments) == text.count("\n[[deployments]]") > 10
    assert {deployment.provider for deployment in catalog.deployments} == {"local", "openai", "anthropic"}
    assert catalog.auto is not None and catalog.policies and catalog.screening.mode == "flag"
    keys = ["ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"]
    assert missing_keys(catalog, {}) == keys
    assert missing_keys(catalog, dict.fromkeys(keys, "x")) == []


def test_every_key_of_a_deployment_is_explained_in_the_shipped_catalog() -> None:
    explained = set(re.findall(r"(?m)^# {3}([a-z_0-9]+(?:, [a-z_0-9]+)?)(?: |$)", SHIPPED.read_text(encoding="utf-8")))
    names = {name for line in explained for name in line.split(", ")}
    shown_with_others = {"min_concurrency"}
    assert {field.name for field in dataclasses.fields(Deployment)} - shown_with_others <= names


def test_the_simulators_models_are_added_when_its_address_is_given() -> None:
    catalog = load(SHIPPED, "http://127.0.0.1:9000")
    deployment = catalog.deployment_for("sim/chat")
    assert deployment is not None
    assert deployment.base_url == "http://127.0.0.1:9000/v1"
    assert {model for model in catalog.models if model.startswith("sim/")} == SIMULATED_MODELS
    assert [server.upstream_model for server in catalog.deployments_for("sim/trio")] == [
        "sim/trio-a",
        "sim/trio-b",
        "sim/trio-c",
    ]


def test_the_catalog_and_the_simulator_name_the_same_models() -> None:
    assert set(SIMULATED) == set(MODELS)


def test_mistakes_are_told_with_file_line_and_key(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        """typo = 1
[[deployments]]
model = "a"
provider = "local"
api_key = "blue"

# [[deployments]] in a comment is none
[[deployments]]
owned_by = '''
[[deployments]]
max_concurrency = 3
'''
"provider" = "openai"
  max_concurrency   = 0
""",
    ) == [
        ':1: typo: unknown table or key "typo" (known: aliases, auto, cache, deployments, lanes, models, screening)',
        ':5: deployments[0].api_key: unknown key "api_key", did you mean "api_key_env"?',
        ":8: deployments[1]: needs `model`",
        ":8: deployments[1]: needs `base_url` (provider \"openai\" talks to a server)",
        ":9: deployments[1].owned_by: must be a text of 1 to 64 printable characters",
        ":14: deployments[1].max_concurrency: must be a whole number from 1 to 100000",
    ]  # fmt: skip


def test_mistakes_in_tables_below_tables_are_told_with_their_own_lines(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        """[[deployments]]
model = "a"
provider = "local"
price.input = -1

[[deployments]]
model = "b"
provider = "local"
[deployments.price]
input = 2
cached = 3

[ models . "b" ]
hedge = 1
fallbacks = { outage = ["b"] }
[models.'b'.thrift]
trim = 1
[models.c]

[auto]
simple = ["a"]
[auto.cheap]
medium = ["nobody"]

[aliases]
"x.y" = "nobody"
""",
    ) == [
        ":4: deployments[0].price.input: must be a price in USD per million tokens, from 0 to 10000, with at most 6 places",
        ":11: deployments[1].price.cached: must not be above `input` (2)",
        ":14: models.b.hedge: must be true or false",
        ":15: models.b.fallbacks.outage: a model cannot stand in for itself",
        ":17: models.b.thrift.trim: must be true or false",
        ':18: models.c: unknown model "c" (known: a, b)',
        ':23: auto.cheap.medium: unknown model "nobody" (known: a, b)',
        ':26: aliases."x.y": unknown model "nobody" (known: a, b)',
    ]


def test_all_processes_give_a_catalog_the_same_version() -> None:
    program = f"from core.catalog import load; print(load({str(SHIPPED)!r}, 'http://127.0.0.1:9').version)"
    versions = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=SHIPPED.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert versions == {load(SHIPPED, "http://127.0.0.1:9").version + "\n"}


def test_prices_are_exactly_what_is_written(tmp_path: Path) -> None:
    (file := tmp_path / "catalog.toml").write_text(
        '[[deployments]]\nmodel = "a"\nprovider = "local"\nprice = { input = 0.1, output = 1_0.30 }\n'
    )
    price = load(file).deployments[0].price
    assert price is not None and (str(price.input), str(price.output)) == ("0.1", "10.30")


def test_a_mistake_in_an_inline_table_is_told_with_the_line_of_the_array(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, '\ndeployments = [\n  { model = "a", provider = "nowhere" },\n]\n')
    assert problem.startswith(":2: deployments[0].provider: ")


def test_text_that_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, '[[deployments]]\nmodel = "a"\nprovider = \n')
    assert problem.startswith(":3: is not TOML: ")


def test_text_that_ends_in_the_middle_is_told(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "\nmodel = '''a\n")
    assert problem.startswith(":2: is not TOML: ")


@pytest.mark.parametrize("text", ['model = "a\nprovider = "local"\n', "model = 'a\n", 'model = "a', "model = 'a"])
def test_a_forgotten_quotation_mark_is_told_as_such_with_its_line(tmp_path: Path, text: str) -> None:
    (problem,) = refused(tmp_path, "[[deployments]]\n" + text)
    assert problem.startswith(":2: is not TOML: ")
    assert "a quotation mark is missing" in problem


def test_a_missing_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"absent\.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml")


def test_bytes_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_bytes(b'model = "\xff"')
    with pytest.raises(CatalogError, match="is not UTF-8"):
        load(file)
