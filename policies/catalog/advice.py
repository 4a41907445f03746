"""What is allowed in a catalog, and probably not meant."""

from collections.abc import Iterator

from policies.catalog.model import Catalog


def advice(catalog: Catalog) -> list[str]:
    """Return a sentence for each thing that its author should know."""
    return [*_prices(catalog), *_policies(catalog), *_absent(catalog)]


def _prices(catalog: Catalog) -> Iterator[str]:
    servers = [deployment for deployment in catalog.deployments if deployment.provider != "local"]
    unpriced = [deployment.name for deployment in servers if deployment.price is None]
    if unpriced:
        yield f"no price: {', '.join(unpriced)}; what their jobs cost stays unknown, and budgets don't count them"


def _policies(catalog: Catalog) -> Iterator[str]:
    for model, policy in catalog.policies.items():
        deployments = catalog.deployments_for(model)
        if policy.balance == "cheapest" and any(deployment.price is None for deployment in deployments):
            yield f'"{model}" goes to the cheapest deployment, but not all of its deployments have a price'
        if policy.balance != "peak_ewma" and len(deployments) == 1:
            yield f'"{model}" has one deployment, so that `balance` chooses nothing'
        thrift = policy.thrift
        if thrift and thrift.fit_history and any(deployment.context_length is None for deployment in deployments):
            yield f'"{model}" fits the history into the context, but not all of its deployments have a `context_length`'


def _absent(catalog: Catalog) -> Iterator[str]:
    named: dict[str, None] = dict.fromkeys(catalog.aliases.values())
    for policy in catalog.policies.values():
        named.update(dict.fromkeys(model for chain in policy.fallbacks.values() for model in chain))
    for tiers in catalog.auto.tiers.values() if catalog.auto else ():
        named.update(dict.fromkeys(model for models in tiers.values() for model in models))
    absent = [model for model in (*named, *catalog.policies) if not catalog.deployments_for(model)]
    if absent:
        yield f"served only while the simulator runs: {', '.join(dict.fromkeys(absent))}"
