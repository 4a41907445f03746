"""The catalog: which models callers may ask for, which deployments serve them, and how one is chosen.

Pure: `parse` takes the parsed TOML document and gives a `Catalog` and every problem found in it. Reading the file and naming
lines is `core.catalog`'s work. `model` says what a catalog is made of, `values` what a key may hold, `parse` reads the tables,
`checks` compares them with each other, `simulated` lists the simulator's models.
"""

from policies.catalog.advice import advice
from policies.catalog.model import (
    BALANCES,
    BATCHABLE,
    CAPABILITIES,
    ENDPOINTS,
    ERROR_CLASSES,
    FLAVOURS,
    IN_PROCESS,
    LANE_TARGETS,
    MERGEABLE,
    PROVIDERS,
    SCREENING_MODES,
    TEXT_ENDPOINTS,
    TIERS,
    AutoPolicy,
    Catalog,
    Deployment,
    Price,
    Problem,
    RoutingPolicy,
    Screening,
    Thrift,
)
from policies.catalog.parse import parse
from policies.catalog.rules import read_cache_rules

__all__ = [
    "BALANCES",
    "BATCHABLE",
    "CAPABILITIES",
    "ENDPOINTS",
    "ERROR_CLASSES",
    "FLAVOURS",
    "IN_PROCESS",
    "LANE_TARGETS",
    "MERGEABLE",
    "PROVIDERS",
    "SCREENING_MODES",
    "TEXT_ENDPOINTS",
    "TIERS",
    "AutoPolicy",
    "Catalog",
    "Deployment",
    "Price",
    "Problem",
    "RoutingPolicy",
    "Screening",
    "Thrift",
    "advice",
    "parse",
    "read_cache_rules",
]
