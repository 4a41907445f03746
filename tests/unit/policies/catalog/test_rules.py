from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cache_policy import CacheRules
from policies.catalog import (
    ERROR_CLASSES,
    FLAVOURS,
    TIERS,
    Catalog,
    Problem,
    RoutingPolicy,
    Screening,
    Thrift,
    parse,
)

Document = dict[str, Any]


def server(model: str, **settings: Any) -> Document:
    return {"model": model, "provider": "openai", "base_url": "http://h/v1", **settings}


DEPLOYMENTS = [
    server("small", context_length=8_000, price={"input": 0.1, "output": 0.4}),
    server("large", context_length=200_000, price={"input": 2, "output": 8}),
    server("unpriced"),
    server("twin", name="twin-eu", region="eu"),
    server("twin", name="twin-us", region="us"),
    server("embed", endpoints=["/v1/embeddings"]),
]


def good(**tables: Any) -> Catalog:
    catalog, problems = parse({"deployments": DEPLOYMENTS, **tables})
    assert problems == []
    return catalog


def places(**tables: Any) -> list[tuple[str | int, ...]]:
    return [problem.place for problem in bad(**tables)]


def bad(**tables: Any) -> list[Problem]:
    return parse({"deployments": DEPLOYMENTS, **tables})[1]


def test_aliases_lead_to_models_also_by_way_of_other_aliases() -> None:
    catalog = good(aliases={"default": "cheap", "cheap": "small"})
    assert catalog.resolve("default") == catalog.resolve("cheap") == catalog.resolve("small") == "small"
    assert catalog.resolve("nobody") == "nobody"
    assert catalog.deployment_for("default") is catalog.deployment_for("small")
    assert "default" not in catalog.models


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ({"small": "large"}, ["already the name of a model"]),
        ({"a": "a"}, ["circle: a → a"]),
        ({"a": "b", "b": "c", "c": "b"}, ["circle: a → b → c → b", "circle: b → c → b", "circle: c → b → c"]),
        ({"a": "smal"}, ['unknown model "smal", did you mean "small"?']),
        ({"a": "nowhere", "b": "a"}, ["unknown model"]),
        ({"auto": "small"}, ["reserved"]),
        ({"auto:cheap": "small"}, ["reserved"]),
        ({"a": "auto"}, ["unknown model"]),
        ({"a": 3}, ["must be"]),
        ({"with space": "small"}, ["must be"]),
    ],
)
def test_an_alias_that_means_nothing_or_two_things_is_refused(aliases: Document, words: list[str]) -> None:
    problems = bad(aliases=aliases)
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert problem.table == "aliases" and problem.key in aliases
        assert word in problem.message


def test_a_model_without_a_policy_has_the_defaults() -> None:
    assert good().policy("small") == good().policy("nobody") == RoutingPolicy()


def test_a_policy_holds_for_the_models_aliases_too() -> None:
    policy = {
        "balance": "cheapest",
        "regions": ["us", "eu"],
        "hedge": True,
        "fallbacks": {"overload": ["large", "small", "large-alias"], "outage": []},
        "thrift": {"trim": True, "fit_history": "summarise", "summary_model": "tiny"},
    }
    problems = bad(models={"twin": policy}, aliases={"tiny": "small", "large-alias": "large"})
    assert problems == []
    catalog = good(models={"twin": policy}, aliases={"t": "twin", "tiny": "small", "large-alias": "large"})
    assert catalog.policy("t") == RoutingPolicy(
        balance="cheapest",
        regions=("us", "eu"),
        hedge=True,
        # Names are resolved, and each model is tried once.
        fallbacks={"overload": ("large", "small"), "outage": ()},
        thrift=Thrift(trim=True, fit_history="summarise", summary_model="small"),
    )


@pytest.mark.parametrize(
    ("policy", "place"),
    [
        (3, ()),
        ({"balance": "random"}, ("balance",)),
        ({"regions": ["eu", "mars"]}, ("regions",)),
        ({"regions": "eu"}, ("regions",)),
        ({"hegde": True}, ("hegde",)),
        ({"fallbacks": ["large"]}, ("fallbacks",)),
        ({"fallbacks": {"overlaod": ["large"]}}, ("fallbacks", "overlaod")),
        ({"fallbacks": {"outage": ["larg"]}}, ("fallbacks", "outage")),
        ({"fallbacks": {"outage": ["twin"]}}, ("fallbacks", "outage")),
        ({"fallbacks": {"outage": ["large", "large"]}}, ("fallbacks", "outage")),
        ({"fallbacks": {"outage": ["embed"]}}, ("fallbacks", "outage")),
        ({"thrift": True}, ("thrift",)),
        ({"thrift": {"trim": 1}}, ("thrift", "trim")),
        ({"thrift": {"fit_history": "cut"}}, ("thrift", "fit_history")),
        ({"thrift": {"fit_history": "summarise"}}, ("thrift", "fit_history")),
        ({"thrift": {"summary_model": "nobody"}}, ("thrift", "summary_model")),
        ({"thrift": {"summary_model": "embed"}}, ("thrift", "summary_model")),
    ],
)
def test_a_mistake_in_a_policy_is_told_with_its_place(policy: Any, place: tuple[str, ...]) -> None:
    assert places(models={"twin": policy}) == [("models", "twin", *place)]


def test_a_fallback_for_long_prompts_must_take_longer_ones() -> None:
    assert places(models={"large": {"fallbacks": {"context": ["small"]}}}) == [
        ("models", "large", "fallbacks", "context")
    ]
    assert places(models={"small": {"fallbacks": {"context": ["large", "unpriced"]}}}) == []


def test_a_policy_for_a_model_that_is_none_is_refused() -> None:
    assert places(models={"smal": {}}) == [("models", "smal")]
    (problem,) = bad(models={"tiny": {}}, aliases={"tiny": "small"})
    assert "is an alias" in problem.message and '"small"' in problem.message


def test_history_is_left_alone_when_fit_history_is_false() -> None:
    thrift = good(models={"small": {"thrift": {"fit_history": False}}}).policy("small").thrift
    assert thrift == Thrift()


def test_a_model_with_mistakes_of_its_own_is_not_called_unknown_as_well() -> None:
    broken = [*DEPLOYMENTS, server("broken", weight=-1)]
    _, problems = parse({"deployments": broken, "aliases": {"b": "broken"}, "auto": {"simple": ["broken"]}})
    assert [problem.place for problem in problems] == [("deployments", 6, "weight")]


def test_names_of_the_simulators_models_may_stand_in_a_catalog_while_it_is_off() -> None:
    catalog = good(models={"small": {"fallbacks": {"outage": ["sim/chat"]}}})
    assert catalog.policy("small").fallbacks == {"outage": ("sim/chat",)}
    assert catalog.deployments_for("sim/chat") == ()


def test_without_an_auto_table_there_is_no_auto() -> None:
    assert good().auto is None


def test_every_flavour_has_every_tier() -> None:
    auto = good(auto={"simple": ["small"], "complex": ["large", "unpriced"], "fast": {"complex": ["twin"]}}).auto
    assert auto is not None
    assert {flavour: dict(tiers) for flavour, tiers in auto.tiers.items()} == {
        "auto": {
            "simple": ("small",),
            "medium": ("large", "unpriced"),
            "complex": ("large", "unpriced"),
            "reasoning": ("large", "unpriced"),
        },
        "cheap": {
            "simple": ("small",),
            "medium": ("large", "unpriced"),
            "complex": ("large", "unpriced"),
            "reasoning": ("large", "unpriced"),
        },
        "fast": {
            "simple": ("small",),
            "medium": ("large", "unpriced"),
            "complex": ("twin",),
            "reasoning": ("large", "unpriced"),
        },
        "best": dict.fromkeys(TIERS, ("large", "unpriced")),
    }


def test_the_best_flavours_own_complex_models_serve_its_lesser_tiers_too() -> None:
    auto = good(
        auto={"simple": ["small"], "complex": ["large"], "reasoning": ["unpriced"], "best": {"complex": ["twin"]}}
    ).auto
    assert auto is not None
    assert [auto.models_for("best", tier) for tier in TIERS] == [("twin",)] * 3 + [("unpriced",)]


def test_the_cheap_flavour_asks_the_cheapest_model_of_a_tier_first() -> None:
    auto = good(auto={"medium": ["unpriced", "large", "small"]}).auto
    assert auto is not None
    assert auto.models_for("cheap", "medium") == ("small", "large", "unpriced")
    assert auto.models_for("auto", "medium") == ("unpriced", "large", "small")


@pytest.mark.parametrize(
    ("auto", "place"),
    [
        (3, ()),
        ({}, ()),
        ({"max_price_per_million": 3}, ()),
        ({"cheap": {"simple": ["small"]}}, ()),
        ({"simple": []}, ("simple",)),
        ({"simple": ["smal"]}, ("simple",)),
        ({"simple": ["embed"]}, ("simple",)),
        ({"simpel": ["small"], "simple": ["small"]}, ("simpel",)),
        ({"simple": ["small"], "quick": {}}, ("quick",)),
        ({"simple": ["small"], "fast": {"medium": ["nobody"]}}, ("fast", "medium")),
        ({"simple": ["small"], "max_price_per_million": -1}, ("max_price_per_million",)),
        ({"simple": ["small"], "complex": ["large"], "max_price_per_million": 1}, ("complex",)),
    ],
)
def test_a_mistake_in_auto_is_told_with_its_place(auto: Any, place: tuple[str, ...]) -> None:
    assert ("auto", *place) in places(auto=auto)


def test_a_ceiling_may_rule_out_some_models_of_a_tier() -> None:
    auto = good(auto={"complex": ["large", "small"], "reasoning": ["unpriced"], "max_price_per_million": 1.5}).auto
    assert auto is not None and auto.max_price_per_million == Decimal("1.5")


def test_lanes_have_targets_that_can_be_changed_and_taken_away() -> None:
    assert good().lane_targets == {"interactive": 1, "default": 30, "bulk": 300}
    changed = good(lanes={"interactive": {"target_s": 0.5}, "bulk": {"target_s": False}, "default": {}})
    assert changed.lane_targets == {"interactive": 0.5, "default": 30}


@pytest.mark.parametrize(
    ("lanes", "place"),
    [
        ({"interactiv": {"target_s": 1}}, ("interactiv",)),
        ({"interactive": 1}, ("interactive",)),
        ({"interactive": {"target_s": 0}}, ("interactive", "target_s")),
        ({"interactive": {"target": 1}}, ("interactive", "target")),
        ([], ()),
    ],
)
def test_a_mistake_in_a_lane_is_told_with_its_place(lanes: Any, place: tuple[str, ...]) -> None:
    assert places(lanes=lanes) == [("lanes", *place)]


def test_screening_is_off_unless_asked_for() -> None:
    assert good().screening == Screening("off")
    assert good(screening={"mode": "block"}).screening.mode == "block"
    assert places(screening={"mode": "on"}) == [("screening", "mode")]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.sampled_from(["small", "twin", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*ERROR_CLASSES, *TIERS, *FLAVOURS, "small", "twin", "thrift", "fallbacks", "regions", "price", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
tables = st.sampled_from(["deployments", "aliases", "models", "auto", "lanes", "screening"]) | st.text(max_size=5)


@given(st.dictionaries(tables, anything, max_size=6), st.booleans())
def test_any_document_gives_a_catalog_or_problems_and_never_an_exception(document: Document, usual: bool) -> None:
    catalog, problems = parse({"deployments": DEPLOYMENTS, **document} if usual else document)
    assert isinstance(catalog, Catalog)
    assert isinstance(catalog.version, str)
    for problem in problems:
        assert problem.message and problem.table in document


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["a", "b", "c", "d", "e", "f", "small"]), max_size=6))
def test_an_alias_leads_to_a_model_or_is_a_mistake(aliases: dict[str, str]) -> None:
    catalog, problems = parse({"deployments": DEPLOYMENTS, "aliases": aliases})
    assert set(catalog.aliases.values()) <= {"small"}
    if not problems:
        assert catalog.aliases.keys() == aliases.keys()


def test_the_version_follows_the_content_and_nothing_else() -> None:
    again, other = good(), good(lanes={"bulk": {"target_s": 60}})
    assert good().version == again.version != other.version
    assert Catalog().version == Catalog(()).version


def test_a_model_says_what_caches_do_for_its_jobs() -> None:
    cache = {"mode": "always", "ttl_s": 60, "semantic": "shadow", "threshold": 0.8}
    assert good(models={"small": {"cache": cache}}).policy("small").cache == CacheRules("always", 60, "shadow", 0.8)
    assert good().policy("small").cache == CacheRules()


@pytest.mark.parametrize(
    ("cache", "place"),
    [
        (True, ("cache",)),
        ({"mode": "refresh"}, ("cache", "mode")),
        ({"ttl_s": 0}, ("cache", "ttl_s")),
        ({"semantic": True}, ("cache", "semantic")),
        ({"threshold": 1.5}, ("cache", "threshold")),
        ({"treshold": 0.5}, ("cache", "treshold")),
    ],
)
def test_a_mistake_in_what_caches_do_is_told_with_its_place(cache: Any, place: tuple[str, ...]) -> None:
    assert places(models={"small": {"cache": cache}}) == [("models", "small", *place)]


def test_the_embedder_is_a_model_that_makes_vectors() -> None:
    assert good().embedder is None
    assert good(cache={"embedder": "wordllama"}).embedder is None
    assert good(cache={"embedder": "embed"}).embedder == "embed"
    assert good(cache={"embedder": "e"}, aliases={"e": "embed"}).embedder == "embed"


@pytest.mark.parametrize("name", ["small", "nobody", 3])
def test_an_embedder_that_makes_no_vectors_is_refused(name: Any) -> None:
    assert places(cache={"embedder": name}) == [("cache", "embedder")]


def test_another_embedder_is_another_catalog() -> None:
    assert good().version != good(cache={"embedder": "embed"}).version
