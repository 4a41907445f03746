"""Which models serve a flavour's tier where the file leaves it open."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from policies.catalog.model import FLAVOURS, TIERS, Deployment

Tiers = Mapping[str, tuple[str, ...]]

_UNPRICED: Final = Decimal("Infinity")


def complete(written: Mapping[str, Tiers], deployments: Mapping[str, tuple[Deployment, ...]]) -> dict[str, Tiers]:
    """Return every flavour with every tier.

    `auto` takes the next more demanding tier's models where a tier has none, else the next less demanding one's. `cheap` takes
    `auto`'s, cheapest first; `fast` takes `auto`'s as they are, because a catalog knows no speeds; `best` takes those of
    `reasoning` for that tier and those of `complex` for all others: its own, where it says which those are.

    Raises:
        ValueError: if `auto` has no model in any tier.
    """
    auto = _fill(written["auto"])
    cheap = {
        tier: tuple(sorted(models, key=lambda model: _price(deployments.get(model, ()))))
        for tier, models in auto.items()
    }
    most = _given(written.get("best", {})).get("complex", auto["complex"])
    best = {tier: auto["reasoning"] if tier == "reasoning" else most for tier in TIERS}
    defaults = {"auto": auto, "cheap": cheap, "fast": auto, "best": best}
    return {flavour: {**defaults[flavour], **_given(written.get(flavour, {}))} for flavour in FLAVOURS}


def _given(tiers: Tiers) -> dict[str, tuple[str, ...]]:
    return {tier: models for tier, models in tiers.items() if models}


def _fill(tiers: Tiers) -> dict[str, tuple[str, ...]]:
    given = _given(tiers)
    if not given:
        raise ValueError("no tier has a model")
    filled: dict[str, tuple[str, ...]] = {}
    for place, tier in enumerate(TIERS):
        above, below = TIERS[place:], TIERS[:place][::-1]
        filled[tier] = next(given[other] for other in (*above, *below) if other in given)
    return filled


def _price(deployments: tuple[Deployment, ...]) -> Decimal:
    """The lowest price of a model, by the mean of input and output; a model without one comes last."""
    prices = [deployment.price.input + deployment.price.output for deployment in deployments if deployment.price]
    return min(prices, default=_UNPRICED)
