from typing import Any

import pytest

from policies.catalog import advice, parse

PRICED = {"model": "m", "provider": "openai", "base_url": "http://h/v1", "price": {"input": 1, "output": 2}}


def advised(*deployments: dict[str, Any], **tables: Any) -> list[str]:
    catalog, problems = parse({"deployments": list(deployments), **tables})
    assert problems == []
    return advice(catalog)


def test_there_is_nothing_to_say_about_a_catalog_without_surprises() -> None:
    assert advised(PRICED, {"model": "local/x", "provider": "local"}, auto={"simple": ["m"]}) == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"balance": "cheapest"}, "one deployment"),
        ({"thrift": {"fit_history": "drop"}}, "context_length"),
        ({"fallbacks": {"outage": ["sim/chat"]}}, "only while the simulator runs: sim/chat"),
    ],
)
def test_a_policy_without_an_effect_is_pointed_out(policy: dict[str, Any], words: str) -> None:
    (sentence,) = advised(PRICED, models={"m": policy})
    assert words in sentence


def test_servers_without_a_price_are_pointed_out() -> None:
    unpriced = {key: value for key, value in PRICED.items() if key != "price"}
    (sentence,) = advised(unpriced)
    assert sentence.startswith("no price: m;")
    sentences = advised({**PRICED, "name": "a"}, {**unpriced, "name": "b"}, models={"m": {"balance": "cheapest"}})
    assert len(sentences) == 2 and "not all of its deployments have a price" in sentences[1]
