"""`docs/routing.md` against the code: its pieces of TOML are one catalog, and it explains what the catalog can say."""

import re
import tomllib
from pathlib import Path

from policies.catalog import parse
from policies.catalog.model import BALANCES, CAPABILITIES, ERROR_CLASSES, FLAVOURS, MERGEABLE, SCREENING_MODES, TIERS

TEXT = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", TEXT))


def test_the_pieces_of_toml_are_one_valid_catalog() -> None:
    pieces = re.findall(r"^```toml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    catalog, problems = parse(tomllib.loads("\n".join(pieces)), cores=2)
    assert problems == []
    assert len(catalog.deployments_for("default")) == 2
    assert catalog.policy("gpt-5-mini").hedge
    assert catalog.auto is not None and catalog.auto.models_for("auto", "reasoning") == ("gpt-5-mini",)


def test_every_word_of_the_policies_is_explained() -> None:
    assert {name.split(" ")[0] for name in NAMED} >= BALANCES
    assert set(ERROR_CLASSES) | CAPABILITIES | MERGEABLE <= NAMED
    assert {flavour if flavour == "auto" else f"auto:{flavour}" for flavour in FLAVOURS} <= NAMED
    assert all(re.search(rf"\b{word}\b", TEXT) for word in (*TIERS, *SCREENING_MODES[1:]))
