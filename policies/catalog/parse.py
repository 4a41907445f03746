"""From a TOML document to a catalog: every table and key is looked at, and every mistake is told, not only the first."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from policies.catalog.deployments import read_deployments
from policies.catalog.model import AutoPolicy, Catalog, Deployment, Problem
from policies.catalog.references import Models
from policies.catalog.rules import read_aliases, read_auto, read_embedder, read_lanes, read_policies, read_screening
from policies.catalog.simulated import SIMULATED_AUTO, SIMULATED_MODELS
from policies.catalog.values import unknown

_TABLES: Final = frozenset({"deployments", "aliases", "models", "auto", "lanes", "screening", "cache"})


def parse(
    document: Mapping[str, Any], *, cores: int = 2, simulated: Iterable[Deployment] = ()
) -> tuple[Catalog, list[Problem]]:
    """Build the catalog from a TOML document and list all problems; the catalog is only good when the list is empty.

    Args:
        document: numbers with a point should be Decimal (`parse_float=Decimal`), so that prices stay exact.
        cores: the default `max_concurrency` of local models, which compute on this machine.
        simulated: the simulator's deployments if it runs. They come after the file's; what the file itself has under their
            names or models stays.
    """
    problems = [
        Problem(name, None, None, unknown("table or key", name, _TABLES)) for name in document if name not in _TABLES
    ]
    tables = document.get("deployments", [])
    deployments = Catalog(tuple(read_deployments(tables, cores, problems))).with_deployments(simulated).deployments
    # What has a mistake of its own, or waits for the simulator, may be referred to.
    models = Models.of(deployments, _named(tables), SIMULATED_MODELS)
    models = replace(models, aliases=read_aliases(document.get("aliases", {}), models, problems))
    catalog = Catalog(
        deployments,
        models.aliases,
        read_policies(document.get("models", {}), models, problems),
        read_auto(document["auto"], models, problems) if "auto" in document else _default_auto(deployments),
        read_lanes(document.get("lanes", {}), problems),
        read_screening(document.get("screening", {}), problems),
        read_embedder(document.get("cache", {}), models, problems),
    )
    return catalog, problems


def _named(tables: Any) -> list[str]:
    """The models of all tables, also of those that have mistakes."""
    listed = tables if isinstance(tables, list) else []
    named = [table.get("model") for table in listed if isinstance(table, Mapping)]
    return [model for model in named if isinstance(model, str)]


def _default_auto(deployments: Iterable[Deployment]) -> AutoPolicy | None:
    present = {deployment.model for deployment in deployments}
    needed = {model for tiers in SIMULATED_AUTO.tiers.values() for models in tiers.values() for model in models}
    return SIMULATED_AUTO if needed <= present else None
