"""The simulator's models. How each behaves is the simulator's own business; what they cost is made up, and nobody pays it."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from policies.catalog.model import CAPABILITIES, AutoPolicy, Deployment, Price
from policies.catalog.tiers import complete

_CHAT: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})
_EMBED: Final = frozenset({"/v1/embeddings"})
_RERANK: Final = frozenset({"/v1/rerank"})


def _price(given: str, answered: str = "0", cached: str | None = None) -> Price:
    return Price(Decimal(given), Decimal(answered), None if cached is None else Decimal(cached))


def _simulated(upstream: str, endpoints: frozenset[str], **settings: Any) -> Deployment:
    defaults = {"model": upstream, "region": "local", "max_concurrency": 4096}
    return Deployment(
        **{**defaults, **settings},
        name=upstream,
        provider="openai",
        upstream_model=upstream,
        endpoints=endpoints,
        owned_by="simulator",
    )


_TEXT: Final = frozenset({"tools", "json"})
_TEMPLATES: Final = (
    _simulated("sim/chat", _CHAT, price=_price("1", "2", "0.1"), capabilities=CAPABILITIES),
    # Without a price, so that what an unknown cost looks like can be seen too.
    _simulated("sim/fast", _CHAT),
    _simulated("sim/slow", _CHAT, price=_price("1", "2")),
    _simulated("sim/bench", _CHAT | _EMBED),
    # A model of an accelerator: a call costs about the same for one item as for a few, so that merging pays, and it has four
    # slots, so that jobs gather while they are taken.
    _simulated(
        "sim/gpu",
        _CHAT | _EMBED | _RERANK | {"/v1/moderations"},
        price=_price("0.1", "0.1"),
        merge_items=64,
        max_concurrency=4,
    ),
    _simulated("sim/embed", _EMBED, price=_price("0.02"), merge_items=64, merge_tokens=100_000),
    _simulated("sim/moderate", frozenset({"/v1/moderations"}), price=_price("0"), merge_items=32),
    _simulated("sim/rerank", _RERANK, price=_price("0.05"), merge_items=64),
    # Four sizes for `auto`.
    _simulated("sim/large", _CHAT, price=_price("2", "8", "0.5"), context_length=200_000, capabilities=CAPABILITIES),
    _simulated(
        "sim/medium", _CHAT, price=_price("0.4", "1.6", "0.1"), context_length=128_000, capabilities=_TEXT | {"vision"}
    ),
    _simulated("sim/small", _CHAT, price=_price("0.15", "0.6"), context_length=32_000, capabilities=_TEXT),
    _simulated("sim/nano", _CHAT, price=_price("0.05", "0.2"), context_length=16_000, capabilities=frozenset({"json"})),
    # Jobs of the lane bulk go through the simulator's Batch API, at half the price.
    _simulated("sim/batch", _CHAT | _EMBED, price=_price("1", "2", "0.1"), batch_api=True),
    # One model on three servers.
    *(
        _simulated(f"sim/trio-{letter}", _CHAT, model="sim/trio", region=letter, price=_price("0.2", "0.8"))
        for letter in "abc"
    ),
)

SIMULATED: Final[Mapping[str, frozenset[str]]] = {
    deployment.upstream_model: deployment.endpoints for deployment in _TEMPLATES
}
"""What the simulator answers: the endpoints of each of its models, under the names that it knows itself."""

SIMULATED_MODELS: Final = frozenset(deployment.model for deployment in _TEMPLATES)
"""Names that callers use for them; several servers may stand behind one."""

_LARGE, _MEDIUM, _SMALL, _NANO = "sim/large", "sim/medium", "sim/small", "sim/nano"
SIMULATED_AUTO: Final = AutoPolicy(
    complete(
        {
            "auto": {
                "simple": (_NANO, _SMALL, _MEDIUM, _LARGE),
                "medium": (_SMALL, _MEDIUM, _LARGE),
                "complex": (_LARGE, _MEDIUM),
                "reasoning": (_LARGE,),
            },
            "cheap": {"complex": (_MEDIUM, _LARGE)},
            "fast": {"medium": (_NANO, _SMALL, _MEDIUM, _LARGE), "complex": (_MEDIUM, _LARGE)},
        },
        {deployment.model: (deployment,) for deployment in _TEMPLATES},
    )
)
"""What `auto` means while the simulator runs and the catalog has no `[auto]` of its own."""


def simulated(simulator_url: str) -> tuple[Deployment, ...]:
    """Deployments for a simulator at `simulator_url` (`http://host:port`), one for each of its models."""
    base_url = simulator_url.rstrip("/") + "/v1"
    return tuple(replace(template, base_url=base_url) for template in _TEMPLATES)
