from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.auto import Needs, NoAutoPolicy, NoModelFits, is_auto, resolve_auto
from policies.catalog import CAPABILITIES, FLAVOURS, TIERS, AutoPolicy, Catalog, Deployment, Price
from policies.complexity import Verdict

CHAT = "/v1/chat/completions"
MODELS = ("a", "b", "c", "d")
REQUESTED = ("auto", "auto:cheap", "auto:fast", "auto:best")


def verdict(tier: str = "medium") -> Verdict:
    return Verdict(tier, 0.8, f"looks {tier} (80%)")


amounts = st.integers(0, 40).map(lambda tenths: Decimal(tenths) / 10)
prices = st.none() | st.builds(Price, amounts, amounts)
abilities = st.frozensets(st.sampled_from(sorted(CAPABILITIES)), max_size=3)


@st.composite
def deployments(draw: st.DrawFn) -> tuple[Deployment, ...]:
    return tuple(
        Deployment(
            name=f"{model}-{number}",
            model=model,
            provider=draw(st.sampled_from(["openai", "local"])),
            endpoints=draw(st.sampled_from([frozenset({CHAT}), frozenset({"/v1/embeddings"})])),
            price=draw(prices),
            context_length=draw(st.none() | st.integers(100, 10_000)),
            max_output_tokens=draw(st.none() | st.integers(10, 2_000)),
            capabilities=draw(abilities),
        )
        for model in MODELS[:-1]  # the last one is in the policy and served by nobody
        for number in range(draw(st.integers(1, 2)))
    )


lists = st.lists(st.sampled_from(MODELS), min_size=1, max_size=4, unique=True).map(tuple)
policies = st.builds(
    AutoPolicy,
    st.fixed_dictionaries({flavour: st.fixed_dictionaries(dict.fromkeys(TIERS, lists)) for flavour in FLAVOURS}),
    st.none() | amounts,
)
catalogs = st.builds(lambda served, policy: Catalog(served, auto=policy), deployments(), policies)
needs = st.builds(Needs, st.just(CHAT), st.integers(0, 8_000), st.none() | st.integers(1, 2_000), abilities)
times = st.dictionaries(st.sampled_from(MODELS), st.floats(0.01, 5))
verdicts = st.sampled_from(TIERS).map(verdict)


def can_serve(deployment: Deployment, asked: Needs, ceiling: Decimal | None) -> bool:
    """The rule, told another way."""
    output = asked.max_output_tokens
    room = deployment.context_length is None or asked.input_tokens + (output or 0) <= deployment.context_length
    short = deployment.max_output_tokens is None or output is None or output <= deployment.max_output_tokens
    known = deployment.price is not None and deployment.price.highest <= ceiling if ceiling is not None else True
    return (
        asked.endpoint in deployment.endpoints
        and room
        and short
        and asked.capabilities <= deployment.capabilities
        and (known or deployment.provider == "local")
    )


@given(st.sampled_from(REQUESTED), verdicts, needs, catalogs, times)
def test_the_chosen_model_can_serve_the_request_and_nobody_is_left_unmentioned(
    requested: str, told: Verdict, asked: Needs, catalog: Catalog, ttft: dict[str, float]
) -> None:
    assert catalog.auto is not None
    ceiling = catalog.auto.max_price_per_million
    flavour = requested.removeprefix("auto:")
    listed = {model for tier in TIERS for model in catalog.auto.models_for(flavour, tier)}
    try:
        decision = resolve_auto(requested, told, asked, catalog, ttft)
    except NoModelFits as error:
        unfit, told_of_them = dict(error.passed_over), str(error)
        assert set(unfit) == listed
        assert all(model in told_of_them and why in told_of_them for model, why in unfit.items())
        return
    assert decision.model in listed
    assert any(can_serve(deployment, asked, ceiling) for deployment in catalog.deployments_for(decision.model))
    looked_at = {model for model, _ in decision.passed_over}
    assert decision.model not in looked_at
    assert set(catalog.auto.models_for(flavour, told.tier)) <= looked_at | {decision.model}
    assert all(why for _, why in decision.passed_over)
    assert (decision.tier, decision.flavour) == (told.tier, flavour)


@given(st.sampled_from(REQUESTED), verdicts, needs, catalogs)
def test_a_model_of_another_tier_is_taken_only_when_none_of_the_tier_can(
    requested: str, told: Verdict, asked: Needs, catalog: Catalog
) -> None:
    assert catalog.auto is not None
    tier_models = catalog.auto.models_for(requested.removeprefix("auto:"), told.tier)
    ceiling = catalog.auto.max_price_per_million
    try:
        decision = resolve_auto(requested, told, asked, catalog)
    except NoModelFits:
        return
    if decision.model not in tier_models:
        assert "no model for" in decision.reason
        # An answer needs some room, even where the request sets no limit.
        wanting = Needs(CHAT, asked.input_tokens, asked.max_output_tokens or 256, asked.capabilities)
        deployments_of = [deployment for model in tier_models for deployment in catalog.deployments_for(model)]
        assert not any(can_serve(deployment, wanting, ceiling) for deployment in deployments_of)


@given(verdicts, needs, catalogs)
def test_more_needs_never_open_a_way_that_was_closed(told: Verdict, asked: Needs, catalog: Catalog) -> None:
    stricter = Needs(CHAT, asked.input_tokens + 500, asked.max_output_tokens, asked.capabilities | {"vision"})
    try:
        resolve_auto("auto", told, stricter, catalog)
    except NoModelFits:
        return
    resolve_auto("auto", told, asked, catalog)


def served(model: str, price: str | None = "1", **settings: object) -> Deployment:
    known = {"price": None if price is None else Price(Decimal(price), Decimal(price)), "provider": "openai"}
    return Deployment(name=model, model=model, **{**known, **settings})  # type: ignore[arg-type]


def catalog_of(*models: Deployment, order: tuple[str, ...] = (), ceiling: str | None = None) -> Catalog:
    names = order or tuple(model.model for model in models)
    tiers = {flavour: dict.fromkeys(TIERS, names) for flavour in FLAVOURS}
    return Catalog(models, auto=AutoPolicy(tiers, None if ceiling is None else Decimal(ceiling)))


PLAIN = Needs(CHAT, 1_000, 500)


def test_auto_takes_the_first_that_can_and_says_why_not_the_others() -> None:
    catalog = catalog_of(
        served("tiny", context_length=800), served("blind"), served("good", capabilities=CAPABILITIES), served("last")
    )
    decision = resolve_auto("auto", verdict(), Needs(CHAT, 1_000, 500, frozenset({"vision"})), catalog)
    assert decision.model == "good"
    assert dict(decision.passed_over) == {
        "tiny": "lacks vision",
        "blind": "lacks vision",
        "last": "lacks vision",
    }
    assert decision.reason == "looks medium (80%); good for medium prompts: first in the catalog's order"


def test_cheap_takes_the_lowest_expected_cost_and_an_unknown_price_comes_last() -> None:
    catalog = catalog_of(served("dear", "4"), served("unknown", None), served("cheap", "0.5"), served("middle", "1"))
    decision = resolve_auto("auto:cheap", verdict(), PLAIN, catalog)
    assert decision.model == "cheap"
    assert "lowest expected cost, 0.00075 USD" in decision.reason
    assert dict(decision.passed_over)["dear"] == "would do, for 0.006 USD"
    assert dict(decision.passed_over)["unknown"] == "would do, but its price is not known"


def test_a_local_model_costs_nothing() -> None:
    catalog = catalog_of(served("cheap", "0.1"), served("here", None, provider="local"))
    assert resolve_auto("auto:cheap", verdict(), PLAIN, catalog).model == "here"


def test_the_cost_is_that_of_a_deployment_that_can_serve_the_request() -> None:
    small = served("mixed", "0.1", context_length=100)
    large = Deployment("mixed-2", "mixed", "openai", price=Price(Decimal(9), Decimal(9)))
    catalog = catalog_of(small, large, served("other", "2"), order=("mixed", "other"))
    assert resolve_auto("auto:cheap", verdict(), PLAIN, catalog).model == "other"


def test_fast_takes_the_quickest_that_is_known_else_the_order() -> None:
    catalog = catalog_of(served("x"), served("y"), served("z"))
    assert resolve_auto("auto:fast", verdict(), PLAIN, catalog, {"y": 0.4, "z": 0.25}).model == "z"
    decision = resolve_auto("auto:fast", verdict(), PLAIN, catalog)
    assert decision.model == "x"
    assert "no times to the first token are known" in decision.reason


def test_a_price_above_the_ceiling_or_an_unknown_one_is_passed_over() -> None:
    catalog = catalog_of(served("dear", "8"), served("unknown", None), served("fair", "2"), ceiling="5")
    decision = resolve_auto("auto", verdict(), PLAIN, catalog)
    assert decision.model == "fair"
    assert dict(decision.passed_over) == {
        "dear": "costs 8 USD a million tokens, the ceiling is 5",
        "unknown": "has no known price, and there is a ceiling",
    }


def test_the_nearest_more_demanding_tier_helps_out_first() -> None:
    tiers = {"simple": ("s",), "medium": ("m",), "complex": ("c",), "reasoning": ("r",)}
    catalog = Catalog(
        (served("s"), served("m", context_length=10), served("c"), served("r")),
        auto=AutoPolicy(dict.fromkeys(FLAVOURS, tiers)),
    )
    decision = resolve_auto("auto", verdict("medium"), PLAIN, catalog)
    assert decision.model == "c"
    assert "no model for medium prompts can serve it, so c for complex ones" in decision.reason
    assert dict(decision.passed_over)["m"] == "has room for 10 tokens, about 1,500 are needed"


def test_aliases_in_the_policy_lead_to_their_models() -> None:
    catalog = Catalog(
        (served("model"),),
        {"alias": "model"},
        auto=AutoPolicy(dict.fromkeys(FLAVOURS, dict.fromkeys(TIERS, ("alias", "model")))),
    )
    decision = resolve_auto("auto", verdict(), PLAIN, catalog)
    assert (decision.model, decision.passed_over) == ("model", ())


def test_a_catalog_without_auto_and_an_unknown_flavour_are_told() -> None:
    with pytest.raises(NoAutoPolicy, match=r"no \[auto\]"):
        resolve_auto("auto", verdict(), PLAIN, Catalog())
    with pytest.raises(NoAutoPolicy, match="auto:cheap, auto:fast, auto:best"):
        resolve_auto("auto:quick", verdict(), PLAIN, catalog_of(served("x")))


@pytest.mark.parametrize(("name", "asks"), [("auto", True), ("auto:x", True), ("autopilot", False), ("x/auto", False)])
def test_only_auto_and_its_flavours_ask_for_a_choice(name: str, asks: bool) -> None:
    assert is_auto(name) is asks
