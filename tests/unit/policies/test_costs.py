import json
from decimal import Decimal, getcontext, localcontext

from hypothesis import given
from hypothesis import strategies as st

from policies.catalog import Price
from policies.costs import Tokens, as_text, cost_usd, estimate, nano_usd, total

amounts = st.decimals(0, 1000, places=6)
prices = st.builds(Price, amounts, amounts, st.none() | amounts, st.decimals(0, 1, places=3))
counts = st.integers(0, 50_000_000)
usages = st.builds(lambda i, o, c: Tokens(i, o, min(c, i)), counts, counts, counts)


def known(price: Price, usage: Tokens, *, batch: bool = False) -> Decimal:
    cost = cost_usd(price, usage, batch=batch)
    assert cost is not None
    return cost


def test_a_million_tokens_cost_what_the_price_says() -> None:
    price = Price(Decimal("2.50"), Decimal(10), Decimal("1.25"))
    assert known(price, Tokens(1_000_000)) == Decimal("2.5")
    assert known(price, Tokens(1_000_000, 0, 1_000_000)) == Decimal("1.25")
    assert known(price, Tokens(0, 1_000_000)) == Decimal(10)
    assert known(price, Tokens(1200, 300, 1000)) == Decimal("0.00475")
    assert known(price, Tokens(1200, 300, 1000), batch=True) == Decimal("0.002375")


def test_without_a_price_or_a_usage_nothing_is_known_and_a_price_of_nothing_is_known() -> None:
    assert cost_usd(None, Tokens(10)) is None
    assert cost_usd(Price(Decimal(1), Decimal(1)), None) is None
    assert known(Price(Decimal(0), Decimal(0)), Tokens(10, 10)) == 0
    assert estimate(None, 10, 10) is None
    assert total([Decimal(1), None]) is None and total([]) is None


@given(prices, usages, usages, st.booleans())
def test_parts_of_a_call_cost_together_what_the_call_costs(price: Price, a: Tokens, b: Tokens, batch: bool) -> None:
    whole = Tokens(
        a.input_tokens + b.input_tokens, a.output_tokens + b.output_tokens, a.cached_tokens + b.cached_tokens
    )
    parts = total([known(price, a, batch=batch), known(price, b, batch=batch)])
    assert parts == known(price, whole, batch=batch)


@given(prices, usages, st.booleans())
def test_no_usage_costs_more_than_was_estimated_for_as_many_tokens(price: Price, usage: Tokens, batch: bool) -> None:
    cost = known(price, usage, batch=batch)
    most = estimate(price, usage.input_tokens, usage.output_tokens, batch=batch)
    assert most is not None and 0 <= cost <= most


@given(prices, usages)
def test_the_precision_that_somebody_else_has_set_changes_nothing(price: Price, usage: Tokens) -> None:
    expected = known(price, usage)
    with localcontext() as context:
        context.prec = 3
        assert getcontext().prec == 3
        assert known(price, usage) == expected


@given(st.integers(-10, 100), st.integers(-10, 1000), st.integers(-10, 100))
def test_odd_counts_of_an_upstream_never_make_a_cost_negative(given_: int, cached: int, answer: int) -> None:
    assert known(Price(Decimal(3), Decimal(4), Decimal(1)), Tokens(given_, answer, cached)) >= 0


@given(prices, usages)
def test_costs_are_told_in_plain_digits_that_lose_nothing(price: Price, usage: Tokens) -> None:
    cost = known(price, usage)
    text = as_text(cost)
    assert Decimal(text) == cost and "E" not in text
    assert Decimal(str(json.loads(f'{{"cost": "{text}"}}')["cost"])) == cost
    assert as_text(Decimal("2E-8")) == "0.00000002" and as_text(Decimal("1E+2")) == "100" and as_text(Decimal(0)) == "0"


@given(prices, usages)
def test_whole_billionths_are_never_too_few(price: Price, usage: Tokens) -> None:
    cost = known(price, usage)
    assert 0 <= Decimal(nano_usd(cost)) - cost * 1_000_000_000 < 1
    assert nano_usd(None) == 0
