import dataclasses
import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.catalog import ENDPOINTS, MERGEABLE, Catalog, Deployment, Price, Problem, parse

SERVER = {"model": "m", "provider": "openai", "base_url": "https://api.example.com/v1"}


def problems_of(*tables: dict[str, Any]) -> list[Problem]:
    return parse({"deployments": list(tables)})[1]


def only(**changes: Any) -> Deployment:
    catalog, problems = parse({"deployments": [{**SERVER, **changes}]})
    assert problems == []
    return catalog.deployments[0]


def test_an_empty_document_is_an_empty_catalog() -> None:
    catalog, problems = parse({})
    assert problems == []
    assert catalog.models == ()
    assert catalog.deployment_for("m") is None


def test_defaults_come_from_the_model_name() -> None:
    deployment = only()
    assert deployment.name == deployment.upstream_model == "m"
    assert deployment.endpoints == {"/v1/chat/completions"}
    assert deployment.serves("/v1/chat/completions") and not deployment.serves("/v1/embeddings")


def test_a_local_model_runs_as_many_at_once_as_there_are_cores() -> None:
    catalog, problems = parse({"deployments": [{"model": "local/x", "provider": "local"}]}, cores=6)
    assert problems == []
    assert catalog.deployments[0].max_concurrency == 6


def test_a_trailing_slash_of_the_base_url_does_not_count() -> None:
    assert only(base_url="http://gpu-1:8001/v1/").base_url == "http://gpu-1:8001/v1"


def test_models_are_found_by_name_and_providers_are_known() -> None:
    local = {"model": "local/embed", "provider": "local", "endpoints": ["/v1/embeddings"]}
    catalog, _ = parse({"deployments": [SERVER, local]})
    assert catalog.models == ("m", "local/embed")
    found = catalog.deployment_for("local/embed")
    assert found is not None and found.provider == "local"
    assert catalog.has_provider("openai") and catalog.has_provider("local") and not catalog.has_provider("other")


def test_every_mistake_is_told_and_not_only_the_first() -> None:
    problems = problems_of(
        {"model": "a", "provider": "openia", "base_ulr": "x"},
        {**SERVER, "max_concurrency": 0, "read_timeout_s": float("nan")},
        {"provider": "local"},
    )
    assert [(problem.index, problem.key) for problem in problems] == [
        (0, "provider"),
        (0, "base_ulr"),
        (1, "max_concurrency"),
        (1, "read_timeout_s"),
        (2, None),
    ]


@pytest.mark.parametrize(
    ("key", "meant"), [("base_ulr", "base_url"), ("max_concurency", "max_concurrency"), ("endpoint", "endpoints")]
)
def test_an_unknown_key_says_what_was_probably_meant(key: str, meant: str) -> None:
    (problem,) = problems_of({**SERVER, key: "x"})
    assert problem.key == key
    assert f'did you mean "{meant}"?' in problem.message


def test_an_unknown_table_is_a_mistake() -> None:
    _, problems = parse({"deployment": [SERVER]})
    assert problems == [
        Problem("deployment", None, None, 'unknown table or key "deployment", did you mean "deployments"?')
    ]


def test_an_unknown_endpoint_says_what_was_probably_meant() -> None:
    (problem,) = problems_of({**SERVER, "endpoints": ["/v1/embedding"]})
    assert 'did you mean "/v1/embeddings"?' in problem.message


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com/v1",
        "ftp://h/v1",
        "http://",
        "http://user:secret@h/v1",
        "http://h/v1?key=1",
        "http://h/v1#x",
        "http://h:99999/v1",
        "http://h/v1/chat/completions",
        "http://[::1/v1",
        "http://h/v 1",
        "",
        7,
    ],
)
def test_a_base_url_that_cannot_work_is_refused(url: object) -> None:
    (problem,) = problems_of({**SERVER, "base_url": url})
    assert problem.key == "base_url"


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated() -> None:
    (problem,) = problems_of({**SERVER, "api_key_env": "sk-proj-very-secret"})
    assert problem.key == "api_key_env"
    assert "very-secret" not in problem.message


def test_an_openai_deployment_needs_a_server() -> None:
    (problem,) = problems_of({"model": "m", "provider": "openai"})
    assert "base_url" in problem.message


def test_a_local_deployment_has_no_server() -> None:
    assert [problem.key for problem in problems_of({**SERVER, "provider": "local"})] == ["base_url"]


def test_several_deployments_of_one_model_need_names_of_their_own() -> None:
    first, second = {**SERVER, "name": "a"}, {**SERVER, "name": "b"}
    catalog, problems = parse({"deployments": [first, second]})
    assert problems == []
    assert [deployment.name for deployment in catalog.deployments_for("m")] == ["a", "b"]
    assert catalog.models == ("m",)
    assert [(problem.index, problem.key) for problem in problems_of(first, SERVER)] == [(1, None)]
    assert [(problem.index, problem.key) for problem in problems_of(first, first)] == [(1, "name")]


def test_deployments_added_later_do_not_displace_those_of_the_file() -> None:
    catalog, _ = parse({"deployments": [SERVER]})
    mine = catalog.deployments[0]
    more = catalog.with_deployments(
        (dataclasses.replace(mine, region="x"), dataclasses.replace(mine, name="n", model="n"))
    )
    assert more.models == ("m", "n")
    assert more.deployment_for("m") is mine


def test_deployments_written_as_something_else_than_tables_are_refused() -> None:
    for wrong in ({}, "x", [1], {"model": "m"}):
        _, problems = parse({"deployments": wrong})
        assert len(problems) == 1


def test_prices_are_exact_however_they_are_written() -> None:
    text = "price = { input = 0.1, cached = 0.025, output = 2, batch_factor = 0.45 }"
    for parse_float in (float, Decimal):
        table = {**SERVER, **tomllib.loads(text, parse_float=parse_float)}
        catalog, problems = parse({"deployments": [table]})
        assert problems == []
        assert catalog.deployments[0].price == Price(Decimal("0.1"), Decimal(2), Decimal("0.025"), Decimal("0.45"))


def test_what_is_not_priced_has_no_price_and_not_a_price_of_zero() -> None:
    assert only().price is None
    assert only(price={"input": 0}).price == Price(Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("price", "path", "key"),
    [
        (1.5, ("price",), None),
        ({"output": 1}, ("price",), None),
        ({"input": -1}, ("price",), "input"),
        ({"input": "1"}, ("price",), "input"),
        ({"input": True}, ("price",), "input"),
        ({"input": 20_000}, ("price",), "input"),
        ({"input": float("nan")}, ("price",), "input"),
        ({"input": Decimal("Infinity")}, ("price",), "input"),
        ({"input": Decimal("1e-999999")}, ("price",), "input"),
        ({"input": 1, "cached": 2}, ("price",), "cached"),
        ({"input": 1, "batch_factor": 2}, ("price",), "batch_factor"),
        ({"input": 1, "ouput": 2}, ("price",), "ouput"),
    ],
)
def test_a_price_that_cannot_be_is_refused(price: object, path: tuple[str, ...], key: str | None) -> None:
    (problem,) = problems_of({**SERVER, "price": price})
    assert (problem.index, problem.path, problem.key) == (0, path, key)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"min_concurrency": 9, "max_concurrency": 8}, "min_concurrency"),
        ({"max_output_tokens": 9, "context_length": 8}, "max_output_tokens"),
        ({"merge_items": 8}, "merge_items"),
        ({"merge_tokens": 100, "endpoints": ["/v1/embeddings"]}, "merge_tokens"),
        ({"batch_api": True, "endpoints": ["/v1/rerank"]}, "batch_api"),
        ({"provider": "anthropic", "batch_api": True}, "batch_api"),
        ({"provider": "anthropic", "endpoints": ["/v1/embeddings"]}, "endpoints"),
        ({"capabilities": ["visions"]}, "capabilities"),
        ({"weight": 0}, "weight"),
        ({"model": "auto:fast"}, "model"),
        ({"model": "auto"}, "model"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], key: str) -> None:
    (problem,) = problems_of({**SERVER, **changes})
    assert problem.key == key


@pytest.mark.parametrize("endpoint", sorted(MERGEABLE))
def test_calls_with_lists_of_items_can_be_merged(endpoint: str) -> None:
    assert only(merge_items=64, endpoints=[endpoint], merge_tokens=8_000).merge_items == 64


def test_a_local_deployment_has_neither_http2_nor_a_batch_api() -> None:
    table = {"model": "local/x", "provider": "local", "http2": True, "batch_api": True}
    assert [problem.key for problem in problems_of(table)] == ["http2", "batch_api"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(sorted(ENDPOINTS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([field.name for field in dataclasses.fields(Deployment)]) | st.text(max_size=12)


@given(st.lists(st.dictionaries(keys, values, max_size=6), max_size=3))
def test_any_deployments_give_a_catalog_or_problems_and_never_an_exception(tables: list[dict[str, Any]]) -> None:
    catalog, problems = parse({"deployments": tables})
    assert isinstance(catalog, Catalog)
    assert len(catalog.deployments) == len(tables) or problems


@given(st.sampled_from(sorted(ENDPOINTS)), st.integers(1, 100_000), st.floats(0.1, 60))
def test_what_is_written_is_what_is_read(endpoint: str, concurrency: int, seconds: float) -> None:
    text = f"""
    [[deployments]]
    model = "m"
    provider = "openai"
    base_url = "http://h/v1"
    endpoints = ["{endpoint}"]
    max_concurrency = {concurrency}
    connect_timeout_s = {seconds!r}
    """
    catalog, problems = parse(tomllib.loads(text))
    assert problems == []
    deployment = catalog.deployments[0]
    assert deployment.endpoints == {endpoint}
    assert (deployment.max_concurrency, deployment.connect_timeout_s) == (concurrency, seconds)
