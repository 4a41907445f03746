"""The tables beside the deployments: aliases, routing policies, tiers, lanes, screening."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from policies.cache_policy import RULE_MODES, SEMANTIC_MODES, CacheRules
from policies.catalog import values
from policies.catalog.model import (
    BALANCES,
    ERROR_CLASSES,
    FLAVOURS,
    IN_PROCESS,
    LANE_TARGETS,
    SCREENING_MODES,
    TEXT_ENDPOINTS,
    TIERS,
    AutoPolicy,
    Problem,
    RoutingPolicy,
    Screening,
    Thrift,
)
from policies.catalog.reader import Reader
from policies.catalog.references import Models, resolve_aliases
from policies.catalog.tiers import complete

_POLICY_KEYS: Final[values.Keys] = {
    "balance": values.one_of(BALANCES),
    "regions": values.names,
    "hedge": values.flag,
}
_THRIFT_KEYS: Final[values.Keys] = {
    "trim": values.flag,
    "fit_history": values.unless_false(values.one_of(("drop", "summarise"))),
    "summary_model": values.name,
    "max_tokens": values.flag,
    "concise_hint": values.flag,
}
_CACHE_KEYS: Final[values.Keys] = {
    "mode": values.one_of(RULE_MODES),
    "ttl_s": values.seconds(0.001, 365 * 86_400),
    "semantic": values.one_of(SEMANTIC_MODES),
    "threshold": values.number(0, 1),
}
_EMBEDDINGS: Final = "/v1/embeddings"
_LANE_KEYS: Final[values.Keys] = {"target_s": values.unless_false(values.seconds(0.01, 86_400))}


def read_aliases(table: Any, models: Models, problems: list[Problem]) -> dict[str, str]:
    """`[aliases]`: other names of models."""
    reader = Reader(problems, "aliases")
    written: dict[str, str] = {}
    for alias, target in reader.entries(table):
        try:
            written[values.model_name(alias)] = values.name(target)
        except ValueError as error:
            reader.refuse(alias, str(error))
    return resolve_aliases(written, models, reader)


def read_policies(table: Any, models: Models, problems: list[Problem]) -> dict[str, RoutingPolicy]:
    """`[models."name"]`: how the jobs of a model are routed."""
    reader = Reader(problems, "models")
    found: dict[str, RoutingPolicy] = {}
    for model, policy in reader.entries(table):
        inside = reader.below(model)
        if model in models.aliases:
            inside.refuse(None, f'is an alias; write the policy for the model, "{models.aliases[model]}"')
        elif model not in models.deployments:
            inside.refuse(None, models.unknown(model))
        else:
            found[model] = _policy(model, policy, models, inside)
    return found


def _policy(model: str, table: Any, models: Models, reader: Reader) -> RoutingPolicy:
    found = reader.read(table, _POLICY_KEYS, tables=("fallbacks", "thrift", "cache"))
    served = {deployment.region for deployment in models.deployments[model]}
    for region in found.get("regions", ()):
        if region not in served and models.deployments[model]:
            reader.refuse("regions", f'no deployment of "{model}" is in region "{region}"')
    if isinstance(table, Mapping) and "fallbacks" in table:
        found["fallbacks"] = _fallbacks(model, table["fallbacks"], models, reader.below("fallbacks"))
    if isinstance(table, Mapping) and "thrift" in table:
        found["thrift"] = _thrift(table["thrift"], models, reader.below("thrift"))
    if isinstance(table, Mapping) and "cache" in table:
        found["cache"] = read_cache_rules(table["cache"], reader.problems, reader.below("cache"))
    return RoutingPolicy(**found)


def _fallbacks(model: str, table: Any, models: Models, reader: Reader) -> dict[str, tuple[str, ...]]:
    written = reader.read(table, dict.fromkeys(ERROR_CLASSES, values.names))
    found: dict[str, tuple[str, ...]] = {}
    for reason, names in written.items():
        found[reason] = models.resolve_all(names, reader, reason)
        for other in found[reason]:
            _check_fallback(model, other, reason, models, reader)
    return found


def _check_fallback(model: str, other: str, reason: str, models: Models, reader: Reader) -> None:
    if other == model:
        reader.refuse(reason, "a model cannot stand in for itself")
        return
    if not models.deployments[model] or not models.deployments[other]:
        return
    if not models.endpoints(model) & models.endpoints(other):
        reader.refuse(reason, f'"{other}" serves none of the endpoints of "{model}"')
    mine, its = models.longest_context(model), models.longest_context(other)
    if reason == "context" and mine is not None and its is not None and its <= mine:
        reader.refuse(reason, f'"{other}" has no longer context ({its}) than "{model}" ({mine})')


def _thrift(table: Any, models: Models, reader: Reader) -> Thrift:
    found = reader.read(table, _THRIFT_KEYS)
    if "summary_model" in found:
        found["summary_model"] = models.resolve(found["summary_model"], reader, "summary_model")
        summary = found["summary_model"]
        if summary and models.deployments[summary] and "/v1/chat/completions" not in models.endpoints(summary):
            reader.refuse("summary_model", f'"{summary}" does not serve /v1/chat/completions')
    elif found.get("fit_history") == "summarise":
        reader.refuse("fit_history", '"summarise" needs `summary_model`')
    return Thrift(**found)


def read_cache_rules(table: Any, problems: list[Problem], reader: Reader | None = None) -> CacheRules:
    """What caches do for jobs that do not say it themselves: of a model, or (without a reader) of an API key."""
    return CacheRules(**(reader or Reader(problems, None)).read(table, _CACHE_KEYS))


def read_embedder(table: Any, models: Models, problems: list[Problem]) -> str | None:
    """`[cache]`: the model whose vectors say which questions are near; None for the one inside each process."""
    reader = Reader(problems, "cache")
    name = reader.read(table, {"embedder": values.name}).get("embedder")
    if name is None or name == IN_PROCESS:
        return None
    model = models.resolve(name, reader, "embedder")
    if model and models.deployments[model] and _EMBEDDINGS not in models.endpoints(model):
        reader.refuse("embedder", f'"{model}" does not serve {_EMBEDDINGS}')
    return model


def read_auto(table: Any, models: Models, problems: list[Problem]) -> AutoPolicy | None:
    """`[auto]`: which models serve each tier, and `[auto.cheap]` and so on where a flavour differs."""
    reader = Reader(problems, "auto")
    keys = {**dict.fromkeys(TIERS, values.names), "max_price_per_million": values.money}
    others = FLAVOURS[1:]
    found = reader.read(table, keys, tables=others)
    ceiling: Decimal | None = found.pop("max_price_per_million", None)
    written = {"auto": _tiers(found, ceiling, models, reader)}
    for flavour in others:
        if isinstance(table, Mapping) and flavour in table:
            inside = reader.below(flavour)
            own = inside.read(table[flavour], dict.fromkeys(TIERS, values.names))
            written[flavour] = _tiers(own, ceiling, models, inside)
    if not any(written["auto"].values()):
        if isinstance(table, Mapping) and not any(tier in table for tier in TIERS):
            reader.refuse(None, f"needs models for at least one of {', '.join(TIERS)}")
        return None
    return AutoPolicy(complete(written, models.deployments), ceiling)


def _tiers(
    written: Mapping[str, tuple[str, ...]], ceiling: Decimal | None, models: Models, reader: Reader
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for tier, names in written.items():
        before = len(reader.problems)
        found[tier] = models.resolve_all(names, reader, tier)
        for model in found[tier]:
            if models.deployments[model] and not models.endpoints(model) & TEXT_ENDPOINTS:
                reader.refuse(tier, f'"{model}" answers no prompts')
        if not names:
            reader.refuse(tier, "must name at least one model")
        elif len(reader.problems) == before and ceiling is not None and _too_dear(found[tier], ceiling, models):
            reader.refuse(tier, f"none of its models costs at most `max_price_per_million` ({ceiling})")
    return found


def _too_dear(tier: tuple[str, ...], ceiling: Decimal, models: Models) -> bool:
    deployments = [deployment for model in tier for deployment in models.deployments[model]]
    prices = [deployment.price for deployment in deployments]
    return bool(prices) and all(price is not None and price.highest > ceiling for price in prices)


def read_lanes(table: Any, problems: list[Problem]) -> dict[str, float]:
    """`[lanes.interactive]`: the time from acceptance to the end that the lane aims at; false: none."""
    reader = Reader(problems, "lanes")
    targets: dict[str, float | None] = dict(LANE_TARGETS)
    for lane, settings in reader.entries(table):
        inside = reader.below(lane)
        if lane not in LANE_TARGETS:
            inside.refuse(None, values.unknown("lane", lane, LANE_TARGETS))
            continue
        found = inside.read(settings, _LANE_KEYS)
        targets[lane] = found.get("target_s", targets[lane])
    return {lane: target for lane, target in targets.items() if target is not None}


def read_screening(table: Any, problems: list[Problem]) -> Screening:
    """`[screening]`: what happens to prompts that look like an attack or hold a secret."""
    return Screening(**Reader(problems, "screening").read(table, {"mode": values.one_of(SCREENING_MODES)}))
