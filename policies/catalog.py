"""The catalog: which models callers may ask for, and which deployments serve them.

Pure: takes the parsed TOML document, gives a `Catalog` and every problem found in it. Reading the file and naming lines is
`core.catalog`'s work. A new kind of table (prices, aliases, routing policies) is one more entry in `_TABLES`; a new setting of a
deployment is one more field of `Deployment` and one more line in `_DEPLOYMENT_KEYS`.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

ENDPOINTS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/rerank",
    }
)
PROVIDERS = frozenset({"openai", "local"})

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Deployment:
    """One concrete upstream that serves one model. Times in seconds, sizes in bytes."""

    name: str
    model: str
    provider: str
    base_url: str | None = None
    api_key_env: str | None = None
    upstream_model: str = ""
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions"})
    region: str | None = None
    owned_by: str = "coatcheck"
    max_concurrency: int = 64
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 600.0
    read_timeout_s: float = 60.0
    max_reply_bytes: int = 16_000_000
    stream_usage: bool = True

    def serves(self, endpoint: str) -> bool:
        """Whether this deployment answers `endpoint` (a path such as `/v1/embeddings`)."""
        return endpoint in self.endpoints


@dataclass(frozen=True)
class Catalog:
    """All deployments, in the order of the file."""

    deployments: tuple[Deployment, ...] = ()
    _by_model: dict[str, Deployment] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for deployment in self.deployments:
            self._by_model.setdefault(deployment.model, deployment)

    @property
    def models(self) -> tuple[str, ...]:
        """Names that callers may use, in the order of the file."""
        return tuple(self._by_model)

    def deployment_for(self, model: str) -> Deployment | None:
        """The deployment that serves `model`, or None for an unknown model."""
        return self._by_model.get(model)

    def has_provider(self, provider: str) -> bool:
        """Whether any deployment is of this provider (`openai`, `local`)."""
        return any(deployment.provider == provider for deployment in self.deployments)

    def with_deployments(self, more: tuple[Deployment, ...]) -> "Catalog":
        """This catalog followed by `more`; a model or name that is already there keeps its present deployment."""
        names = {deployment.name for deployment in self.deployments}
        fresh = (extra for extra in more if extra.name not in names and extra.model not in self._by_model)
        return Catalog((*self.deployments, *fresh))


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `table` and `index` name the TOML table (`deployments`, 2 = the third), `key` the key inside it if any."""

    table: str | None
    index: int | None
    key: str | None
    message: str


def parse(document: Mapping[str, Any], *, cores: int = 2) -> tuple[Catalog, list[Problem]]:
    """Build the catalog from a TOML document and list all problems; the catalog is only good when the list is empty.

    `cores` is the default `max_concurrency` of local models, which compute on this machine.
    """
    strangers = [name for name in document if name not in _TABLES]
    problems = [Problem(name, None, None, _unknown("table or key", name, _TABLES)) for name in strangers]
    deployments: list[Deployment] = []
    tables = document.get("deployments", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(Problem("deployments", None, None, "must be written as [[deployments]] tables"))
        tables = []
    for index, table in enumerate(tables):
        deployment = _deployment(table, index, cores, problems)
        if deployment is not None:
            _refuse_twins(deployment, index, deployments, problems)
            deployments.append(deployment)
    return Catalog(tuple(deployments)), problems


_TABLES = frozenset({"deployments"})


def _deployment(table: Mapping[str, Any], index: int, cores: int, problems: list[Problem]) -> Deployment | None:
    values: dict[str, Any] = {}
    before = len(problems)

    def refuse(key: str | None, message: str) -> None:
        problems.append(Problem("deployments", index, key, message))

    for key, value in table.items():
        check = _DEPLOYMENT_KEYS.get(key)
        if check is None:
            refuse(key, _unknown("key", key, _DEPLOYMENT_KEYS))
            continue
        try:
            values[key] = check(value)
        except ValueError as error:
            refuse(key, str(error))
    for key in ("model", "provider"):
        if key not in table:
            refuse(None, f"needs `{key}`")
    provider = values.get("provider")
    for wrong, message in _provider_rules(provider, table):
        refuse(wrong, message)
    if len(problems) > before:
        return None
    values.setdefault("name", values["model"])
    values.setdefault("upstream_model", values["model"])
    if provider == "local":
        values.setdefault("max_concurrency", cores)
    return Deployment(**values)


def _provider_rules(provider: Any, table: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    if provider == "openai" and "base_url" not in table:
        return [(None, 'needs `base_url` (provider "openai" talks to a server)')]
    if provider == "local":
        return [
            (key, 'has no meaning for provider "local", which runs inside the worker')
            for key in ("base_url", "api_key_env", "connect_timeout_s", "first_byte_timeout_s", "read_timeout_s")
            if key in table
        ]
    return []


def _refuse_twins(new: Deployment, index: int, known: list[Deployment], problems: list[Problem]) -> None:
    for other in known:
        if other.name == new.name:
            problems.append(
                Problem("deployments", index, "name", f'"{new.name}" is already the name of another deployment')
            )
        elif other.model == new.model:
            message = f'"{new.model}" is already served by deployment "{other.name}"; a model has one deployment'
            problems.append(Problem("deployments", index, "model", message))


def _unknown(what: str, name: str, known: "frozenset[str] | Mapping[str, Any]") -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    if close:
        return f'unknown {what} "{name}", did you mean "{close[0]}"?'
    return f'unknown {what} "{name}" (known: {", ".join(sorted(known))})'


def _text(limit: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value or len(value) > limit or not value.isprintable():
            raise ValueError(f"must be a text of 1 to {limit} printable characters")
        return value

    return check


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 128 letters, digits or any of . _ : / @ + -, and begin with a letter or digit")
    return value


def _env_name(value: Any) -> str:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        # The value is not repeated: it may well be the key itself.
        raise ValueError("must be the NAME of an environment variable that holds the key, never the key itself")
    return value


def _one_of(known: frozenset[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise ValueError(_unknown("value", value if isinstance(value, str) else repr(value), known))

    return check


def _endpoints(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not value:
        raise ValueError('must be a list of endpoints, such as ["/v1/chat/completions"]')
    return frozenset(_one_of(ENDPOINTS)(item) for item in value)


def _base_url(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError("must be an http or https URL")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; name the key's variable in `api_key_env`")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    bare = value.rstrip("/")
    for endpoint in ENDPOINTS:
        if bare.endswith(endpoint):
            raise ValueError(f'must stop before the endpoint: "{bare.removesuffix(endpoint)}/v1"')
    return bare


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        # The comparison also refuses nan, which TOML can spell.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return float(value)

    return check


def _flag(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise ValueError("must be true or false")


_DEPLOYMENT_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "name": _name,
    "model": _name,
    "provider": _one_of(PROVIDERS),
    "base_url": _base_url,
    "api_key_env": _env_name,
    "upstream_model": _text(256),
    "endpoints": _endpoints,
    "region": _name,
    "owned_by": _text(64),
    "max_concurrency": _whole(1, 100_000),
    "connect_timeout_s": _seconds(0.1, 60),
    "first_byte_timeout_s": _seconds(0.1, 3600),
    "read_timeout_s": _seconds(0.1, 3600),
    "max_reply_bytes": _whole(1_000, 256_000_000),
    "stream_usage": _flag,
}
