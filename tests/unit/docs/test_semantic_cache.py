"""The page on the semantic cache: its pieces of TOML are a catalog, and its settings exist."""

import re
import tomllib
from pathlib import Path

from core.settings import CacheSettings
from policies.catalog import parse

PAGE = (Path(__file__).parents[3] / "docs" / "semantic-cache.md").read_text(encoding="utf-8")
MODELS = """
[[deployments]]
model = "gpt-5-mini"
provider = "local"

[[deployments]]
model = "text-embedding-3-small"
provider = "local"
endpoints = ["/v1/embeddings"]
"""


def test_the_pieces_of_toml_are_a_catalog() -> None:
    pieces = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    catalog, problems = parse(tomllib.loads(MODELS + "".join(pieces)))
    assert problems == []
    assert catalog.embedder == "text-embedding-3-small"
    assert catalog.policy("gpt-5-mini").cache.semantic == "shadow"


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"COATCHECK_CACHE_([A-Z_]+)", PAGE))
    assert named
    assert {name.lower() for name in named} <= set(CacheSettings.model_fields)
