"""What a catalog is made of. All of it is frozen: a reload makes a new one, and whoever holds the old one may go on with it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from policies.cache_policy import NO_RULES, CacheRules

ENDPOINTS: Final = frozenset(
    {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/rerank",
    }
)
#: Endpoints whose requests hold lists of items, so that several jobs can share one upstream call.
MERGEABLE: Final = frozenset({"/v1/embeddings", "/v1/moderations", "/v1/completions", "/v1/rerank"})
#: Endpoints that OpenAI-style Batch APIs take.
BATCHABLE: Final = frozenset(
    {"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations"}
)
#: Endpoints whose prompts can be routed by complexity (`model: "auto"`).
TEXT_ENDPOINTS: Final = frozenset({"/v1/chat/completions", "/v1/responses", "/v1/completions"})
PROVIDERS: Final = frozenset({"openai", "anthropic", "local"})
CAPABILITIES: Final = frozenset({"vision", "tools", "json", "reasoning"})
BALANCES: Final = frozenset({"peak_ewma", "least_in_flight", "weighted", "cheapest", "lowest_ttft", "prefix_affinity"})
#: What a fallback chain answers to: rate limits and saturation, a prompt that is too long, a refusal, everything being down.
ERROR_CLASSES: Final = ("overload", "context", "refused", "outage")
#: What callers may write as a model to have one chosen; `auto` is written alone, the others as `auto:cheap` and so on.
FLAVOURS: Final = ("auto", "cheap", "fast", "best")
#: From the least demanding prompts to the most demanding.
TIERS: Final = ("simple", "medium", "complex", "reasoning")
#: Seconds from acceptance to the end of a job that its lane aims at.
LANE_TARGETS: Final[Mapping[str, float]] = MappingProxyType({"interactive": 1.0, "default": 30.0, "bulk": 300.0})
#: The embedder that runs inside each process.
IN_PROCESS: Final = "wordllama"
SCREENING_MODES: Final = ("off", "flag", "block")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens. `cached` is for input read from the upstream's cache; None: it costs as much as other input."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    batch_factor: Decimal = Decimal("0.5")

    @property
    def highest(self) -> Decimal:
        """The dearer of input and output: what a price ceiling is compared with."""
        return max(self.input, self.output)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One concrete upstream that serves one model. Times in seconds, sizes in bytes.

    Attributes:
        max_concurrency: ceiling of calls in flight, over all workers; for local models in each process.
        min_concurrency: floor of the adaptive limit.
        merge_items: most items in one upstream call that several jobs share; 1: never merge.
        merge_tokens: most estimated tokens in such a call.
        batch_api: jobs of the lane `bulk` may go through its Batch API.
    """

    name: str
    model: str
    provider: str
    base_url: str | None = None
    api_key_env: str | None = None
    upstream_model: str = ""
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions"})
    region: str | None = None
    owned_by: str = "coatcheck"
    weight: float = 1.0
    price: Price | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()
    max_concurrency: int = 64
    min_concurrency: int = 1
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 600.0
    read_timeout_s: float = 60.0
    max_reply_bytes: int = 16_000_000
    stream_usage: bool = True
    http2: bool = False
    merge_items: int = 1
    merge_tokens: int | None = None
    batch_api: bool = False

    def serves(self, endpoint: str) -> bool:
        """Whether this deployment answers `endpoint` (a path such as `/v1/embeddings`)."""
        return endpoint in self.endpoints


@dataclass(frozen=True, slots=True)
class Thrift:
    """Which savings are made for a model's requests. All are off unless asked for.

    Attributes:
        trim: drop redundant whitespace and repeated context, outside code and JSON.
        fit_history: `drop` or `summarise` the middle of a conversation that would not fit; None: leave it.
        summary_model: which model summarises.
        max_tokens: set a default by kind of task where the request has none.
        concise_hint: ask for a concise answer.
    """

    trim: bool = False
    fit_history: str | None = None
    summary_model: str | None = None
    max_tokens: bool = False
    concise_hint: bool = False


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """How a job finds one of a model's deployments, and where it goes when all of them fail it.

    Attributes:
        balance: one of `BALANCES`.
        regions: in order of preference; a deployment in none of them comes last.
        fallbacks: from an error class (`ERROR_CLASSES`) to models, in the order in which they are tried.
        hedge: send a second request when the first takes longer than the deployment's p95.
        cache: what caches do for jobs that do not say it themselves, and whose keys don't either.
    """

    balance: str = "peak_ewma"
    regions: tuple[str, ...] = ()
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hedge: bool = False
    thrift: Thrift | None = None
    cache: CacheRules = NO_RULES


@dataclass(frozen=True, slots=True)
class AutoPolicy:
    """Which models serve `auto`, `auto:cheap`, `auto:fast` and `auto:best`.

    `tiers` is complete: it has every flavour, and in it every tier, with models in order of preference.
    """

    tiers: Mapping[str, Mapping[str, tuple[str, ...]]]
    max_price_per_million: Decimal | None = None

    def models_for(self, flavour: str, tier: str) -> tuple[str, ...]:
        """Models in order of preference. Raises KeyError for a flavour or tier that does not exist."""
        return self.tiers[flavour][tier]


@dataclass(frozen=True, slots=True)
class Screening:
    """What happens to prompts that a rule finds suspicious: nothing is looked for, it is noted, or the job is refused."""

    mode: str = "off"


@dataclass(frozen=True)
class Catalog:
    """Deployments in the order of the file, and the rules for choosing between them.

    `aliases` lead straight to models: chains are resolved when the file is read. `embedder` is the model that makes the vectors
    of the semantic cache; None: the one inside each process.
    """

    deployments: tuple[Deployment, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, RoutingPolicy] = field(default_factory=dict)
    auto: AutoPolicy | None = None
    lane_targets: Mapping[str, float] = field(default_factory=lambda: dict(LANE_TARGETS))
    screening: Screening = Screening()
    embedder: str | None = None
    _by_model: dict[str, tuple[Deployment, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for deployment in self.deployments:
            self._by_model[deployment.model] = (*self._by_model.get(deployment.model, ()), deployment)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that deployments serve, in the order of the file; aliases are not among them."""
        return tuple(self._by_model)

    @cached_property
    def version(self) -> str:
        """A short hash of the content: equal in all processes that read the same file on machines with as many cores."""
        return hashlib.blake2b(repr(_canonical(self)).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()

    def resolve(self, name: str) -> str:
        """The model that `name` means: an alias's model, else `name` itself, known or not."""
        return self.aliases.get(name, name)

    def deployments_for(self, model: str) -> tuple[Deployment, ...]:
        """All deployments that serve `model` (a name or an alias), in the order of the file; none for an unknown model."""
        return self._by_model.get(self.resolve(model), ())

    def deployment_for(self, model: str) -> Deployment | None:
        """The first deployment that serves `model`, or None for an unknown model."""
        return next(iter(self.deployments_for(model)), None)

    def policy(self, model: str) -> RoutingPolicy:
        """How jobs of `model` are routed; the defaults when the file says nothing about it."""
        return self.policies.get(self.resolve(model), _DEFAULT_POLICY)

    def has_provider(self, provider: str) -> bool:
        """Whether any deployment is of this provider (`openai`, `anthropic`, `local`)."""
        return any(deployment.provider == provider for deployment in self.deployments)

    def with_deployments(self, more: Iterable[Deployment]) -> "Catalog":
        """This catalog followed by `more`; a model, alias or name that is already there keeps its present meaning."""
        names = {deployment.name for deployment in self.deployments}
        taken = self._by_model.keys() | self.aliases.keys()
        fresh = (extra for extra in more if extra.name not in names and extra.model not in taken)
        return replace(self, deployments=(*self.deployments, *fresh))


_DEFAULT_POLICY: Final = RoutingPolicy()


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, and where it is.

    `table` and `index` name the TOML table (`deployments`, 2 = the third), `path` the tables below it (`models` has
    `("gpt-5", "thrift")`), `key` the key inside it if any.
    """

    table: str | None
    index: int | None
    key: str | None
    message: str
    path: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str | int, ...]:
        """Where it is, from the outside to the inside."""
        parts = (self.table, self.index, *self.path, self.key)
        return tuple(part for part in parts if part is not None)


def _canonical(value: Any) -> Any:
    """`value` in a form whose repr is the same in every process, which that of a frozenset is not."""
    if is_dataclass(value):
        return [(part.name, _canonical(getattr(value, part.name))) for part in fields(value) if part.compare]
    if isinstance(value, Mapping):
        return sorted((key, _canonical(inner)) for key, inner in value.items())
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_canonical(inner) for inner in value]
    return value
