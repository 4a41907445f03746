"""What a call costs, from the catalog's prices. Pure and exact: every amount is a Decimal of USD.

Nothing is rounded, so that the costs of the parts of a shared call add up to the cost of the whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final, Protocol

from policies.catalog import Price

_MILLION: Final = Decimal(1_000_000)
# Wide enough for any product of a price and a count of tokens, whatever precision the caller's thread has set.
_EXACT: Final = Context(prec=60)
_NANO: Final = Decimal(1_000_000_000)
_ZERO: Final = Decimal(0)


class Usage(Protocol):
    """What is needed of a call's usage, in tokens; the cached ones are among the input."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A usage of our own making."""

    input_tokens: int
    output_tokens: int = 0
    cached_tokens: int = 0


def cost_usd(price: Price | None, usage: Usage | None, *, batch: bool = False) -> Decimal | None:
    """Return what a call cost in USD; None when its price or its usage is not known, which is not the same as nothing.

    Args:
        price: USD per million tokens, of the deployment that answered.
        usage: what the upstream counted.
        batch: the call went through the upstream's Batch API.
    """
    if price is None or usage is None:
        return None
    given = max(0, usage.input_tokens)
    # An upstream that counts what it read from its cache beside the input, not in it, must not make the rest negative.
    cached = min(max(0, usage.cached_tokens), given)
    cached_price = price.input if price.cached is None else price.cached
    times = _EXACT.multiply
    total = times(Decimal(given - cached), price.input)
    total = _EXACT.add(total, times(Decimal(cached), cached_price))
    total = _EXACT.add(total, times(Decimal(max(0, usage.output_tokens)), price.output))
    if batch:
        total = times(total, price.batch_factor)
    return _EXACT.divide(total, _MILLION)


def estimate(price: Price | None, input_tokens: int, output_tokens: int, *, batch: bool = False) -> Decimal | None:
    """Return the most that a call of so many tokens can cost, in USD; nothing is taken to come from the upstream's cache."""
    if price is None:
        return None
    if price.cached is not None and price.cached > price.input:
        return cost_usd(price, Tokens(input_tokens, output_tokens, input_tokens), batch=batch)
    return cost_usd(price, Tokens(input_tokens, output_tokens), batch=batch)


def total(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of the costs of one job's calls; None when one of them is not known, or when there are none."""
    summed: Decimal | None = None
    for cost in costs:
        if cost is None:
            return None
        summed = cost if summed is None else _EXACT.add(summed, cost)
    return summed


def as_text(cost: Decimal) -> str:
    """Return an amount as plain decimal digits: `0.00000002`, never `2E-8`, and without idle zeros at the end."""
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") or "0" if "." in text else text


def nano_usd(cost: Decimal | None) -> int:
    """Return an amount in whole billionths of a USD, rounded up, for counters that take integers; 0 for an unknown one."""
    if cost is None or cost <= _ZERO:
        return 0
    return int(_EXACT.multiply(cost, _NANO).to_integral_value(ROUND_CEILING))
