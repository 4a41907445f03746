"""`model: "auto"`: from how hard a prompt is, and what its request needs, to one model of the catalog. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from policies.catalog import FLAVOURS, TIERS, Catalog, Deployment
from policies.complexity import Verdict
from policies.costs import as_text, estimate

_LEAST_ANSWER: Final = (
    256  # room that an answer without a limit of its own needs: what is longer, models can still write
)
_UNKNOWN: Final = Decimal("Infinity")
_LATER: Final = "would do, but comes later in the order"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of a model.

    Attributes:
        endpoint: the operation's path.
        input_tokens: an estimate.
        max_output_tokens: the longest answer that the request asks for; None when it leaves that open.
        capabilities: of "vision", "tools", "json", "reasoning".
    """

    endpoint: str
    input_tokens: int
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen model.

    Attributes:
        model: its name in the catalog.
        tier: what the prompt was taken for.
        reason: why, in a sentence.
        passed_over: every other model that was looked at, and why it was not chosen.
        confidence: of the tier, 0 to 1.
        flavour: one of "auto", "cheap", "fast", "best".
    """

    model: str
    tier: str
    reason: str
    passed_over: tuple[tuple[str, str], ...] = ()
    confidence: float = 1.0
    flavour: str = "auto"


class AutoError(ValueError):
    """No model can be chosen.

    AutoError
    ├── NotRoutable   the operation's requests have no text to judge
    ├── NoAutoPolicy  the catalog says nothing about `auto`, or the flavour does not exist
    └── NoModelFits   it does, but no model can serve this request
    """


class NotRoutable(AutoError):
    """The operation's requests have no text to judge."""


class NoAutoPolicy(AutoError):
    """The catalog says nothing about `auto`, or the flavour does not exist."""


class NoModelFits(AutoError):
    """No model of the policy can serve the request; `passed_over` names each with its reason."""

    def __init__(self, requested: str, tier: str, passed_over: tuple[tuple[str, str], ...]) -> None:
        told = "; ".join(f"{model} {why}" for model, why in passed_over) or "the policy names no model"
        super().__init__(f"no model for {requested!r} can serve this request: {told}")
        self.tier = tier
        self.passed_over = passed_over


@dataclass(slots=True)
class _Search:
    needs: Needs
    catalog: Catalog
    ceiling: Decimal | None
    passed_over: dict[str, str] = field(default_factory=dict)

    def fitting(self, models: Sequence[str]) -> list[str]:
        """Those that can serve the request; the others are noted with the reason."""
        found = []
        for model in models:
            why = _refusal(self.catalog.deployments_for(model), self.needs, self.ceiling)
            if why is None:
                found.append(model)
            else:
                self.passed_over[model] = why
        return found

    def cost(self, model: str) -> Decimal:
        """What the request may cost at the cheapest deployment that can serve it, in USD; infinite when no price is known."""
        output = self.needs.max_output_tokens or _LEAST_ANSWER
        costs = [
            Decimal(0)
            if deployment.provider == "local"
            else estimate(deployment.price, self.needs.input_tokens, output)
            for deployment in self.catalog.deployments_for(model)
            if _obstacle(deployment, self.needs, self.ceiling) is None
        ]
        return min((cost for cost in costs if cost is not None), default=_UNKNOWN)


def is_auto(model: str) -> bool:
    """Whether `model` asks for one to be chosen."""
    return model == "auto" or model.startswith("auto:")


def resolve_auto(
    requested: str, verdict: Verdict, needs: Needs, catalog: Catalog, ttft_s: Mapping[str, float] | None = None
) -> Decision:
    """Choose a model for a request that asks for `auto`, `auto:cheap`, `auto:fast` or `auto:best`.

    The models of the verdict's tier are tried first; when none of them fits, those of the more demanding tiers, then those of
    the less demanding ones, the nearest first. Within a tier `cheap` takes the lowest expected cost and `fast` the lowest time to
    the first token where `ttft_s` (seconds, by model) knows some; the others keep the catalog's order.

    Raises:
        NoAutoPolicy: if the catalog has no `[auto]`, or `requested` is no flavour of it.
        NoModelFits: if no model of the flavour can serve the request.
    """
    flavour = _flavour(requested)
    policy = catalog.auto
    if policy is None:
        raise NoAutoPolicy("the catalog does not say what `auto` means: it has no [auto]")
    search = _Search(needs, catalog, policy.max_price_per_million)
    for tier in _nearest(verdict.tier):
        models = dict.fromkeys(catalog.resolve(model) for model in policy.models_for(flavour, tier))
        fitting = search.fitting([model for model in models if model not in search.passed_over])
        if not fitting:
            continue
        chosen, why = _choose(flavour, fitting, search, ttft_s or {})
        for model in fitting:
            if model != chosen:
                search.passed_over[model] = _second(flavour, model, search, ttft_s or {})
        reason = _reason(verdict, tier, chosen, why)
        return Decision(chosen, verdict.tier, reason, tuple(search.passed_over.items()), verdict.confidence, flavour)
    raise NoModelFits(requested, verdict.tier, tuple(search.passed_over.items()))


def _flavour(requested: str) -> str:
    flavour = requested.removeprefix("auto:")
    if flavour not in FLAVOURS or requested == "auto:auto":
        known = ", ".join(["auto", *(f"auto:{name}" for name in FLAVOURS if name != "auto")])
        raise NoAutoPolicy(f"there is no {requested!r}; known: {known}")
    return flavour


def _nearest(tier: str) -> Iterator[str]:
    place = TIERS.index(tier)
    yield from TIERS[place:]
    yield from reversed(TIERS[:place])


def _refusal(deployments: Sequence[Deployment], needs: Needs, ceiling: Decimal | None) -> str | None:
    """Why none of a model's deployments can serve the request; None if one of them can."""
    if not deployments:
        return "is not served here"
    obstacles = [_obstacle(deployment, needs, ceiling) for deployment in deployments]
    return None if None in obstacles else "; ".join(dict.fromkeys(why for why in obstacles if why))


def _obstacle(deployment: Deployment, needs: Needs, ceiling: Decimal | None) -> str | None:
    if not deployment.serves(needs.endpoint):
        return f"does not serve {needs.endpoint}"
    if missing := needs.capabilities - deployment.capabilities:
        return f"lacks {' and '.join(sorted(missing))}"
    return _too_long(deployment, needs) or _too_dear(deployment, ceiling)


def _too_long(deployment: Deployment, needs: Needs) -> str | None:
    most, asked = deployment.max_output_tokens, needs.max_output_tokens
    if most is not None and asked is not None and asked > most:
        return f"writes at most {most:,} tokens, {asked:,} are asked for"
    whole = needs.input_tokens + (asked or min(_LEAST_ANSWER, most or _LEAST_ANSWER))
    if deployment.context_length is not None and whole > deployment.context_length:
        return f"has room for {deployment.context_length:,} tokens, about {whole:,} are needed"
    return None


def _too_dear(deployment: Deployment, ceiling: Decimal | None) -> str | None:
    if ceiling is None or deployment.provider == "local":
        return None
    if deployment.price is None:
        return "has no known price, and there is a ceiling"
    if deployment.price.highest > ceiling:
        return f"costs {as_text(deployment.price.highest)} USD a million tokens, the ceiling is {as_text(ceiling)}"
    return None


def _choose(flavour: str, fitting: Sequence[str], search: _Search, ttft_s: Mapping[str, float]) -> tuple[str, str]:
    """The model and why it comes before the others that fit; the earlier one wins a tie."""
    first = fitting[0]
    if flavour == "cheap":
        chosen = min(fitting, key=search.cost)
        cost = search.cost(chosen)
        if cost == _UNKNOWN:
            return chosen, "no price is known, so it comes first by order"
        return chosen, f"lowest expected cost, {_money(cost)}"
    if flavour == "fast":
        known = [model for model in fitting if model in ttft_s]
        if known:
            chosen = min(known, key=lambda model: ttft_s[model])
            return chosen, f"quickest to its first token, {1000 * ttft_s[chosen]:.0f} ms"
        return first, "no times to the first token are known, so it comes first by order"
    return first, "first in the catalog's order"


def _second(flavour: str, model: str, search: _Search, ttft_s: Mapping[str, float]) -> str:
    if flavour == "cheap":
        cost = search.cost(model)
        return "would do, but its price is not known" if cost == _UNKNOWN else f"would do, for {_money(cost)}"
    if flavour == "fast" and ttft_s:
        if model in ttft_s:
            return f"would do, but takes {1000 * ttft_s[model]:.0f} ms to its first token"
        return "would do, but its time to the first token is not known"
    return _LATER


def _money(cost: Decimal) -> str:
    """A cost with two significant digits."""
    return f"{as_text(cost.normalize() if cost == 0 else round(cost, 1 - cost.adjusted()))} USD"


def _reason(verdict: Verdict, tier: str, chosen: str, why: str) -> str:
    if tier == verdict.tier:
        return f"{verdict.reason}; {chosen} for {tier} prompts: {why}"
    return f"{verdict.reason}; no model for {verdict.tier} prompts can serve it, so {chosen} for {tier} ones: {why}"
