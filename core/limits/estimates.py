"""What a request may take, before anybody knows: the API sets it aside, and the workers do so again, by the same numbers."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.tokens import input_tokens
from policies.catalog import Catalog
from policies.costs import estimate
from policies.tokens import output_limit


def expected(catalog: Catalog, model: str, endpoint: str, body: Mapping[str, Any]) -> tuple[int, Decimal | None]:
    """Return the most tokens that a request is expected to take, and the most USD on any deployment of its model."""
    deployments = catalog.deployments_for(catalog.resolve(model))
    upstream = deployments[0].upstream_model or model if deployments else model
    given = input_tokens(upstream, endpoint, body)
    ceilings = [each.max_output_tokens for each in deployments if each.max_output_tokens is not None]
    answer = output_limit(
        endpoint, body, ceiling=max(ceilings) if len(ceilings) == len(deployments) and ceilings else None
    )
    costs = [cost for each in deployments if (cost := estimate(each.price, given, answer)) is not None]
    return max(1, given + answer), max(costs, default=None)
