"""The `[[deployments]]` tables."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from policies.catalog import values
from policies.catalog.model import BATCHABLE, CAPABILITIES, MERGEABLE, PROVIDERS, Deployment, Price, Problem
from policies.catalog.reader import Reader

_PRICE_KEYS: Final[values.Keys] = {
    "input": values.money,
    "output": values.money,
    "cached": values.money,
    "batch_factor": values.share,
}
_KEYS: Final[values.Keys] = {
    "name": values.name,
    "model": values.model_name,
    "provider": values.one_of(PROVIDERS),
    "base_url": values.base_url,
    "api_key_env": values.env_name,
    "upstream_model": values.text(256),
    "endpoints": values.endpoints,
    "region": values.name,
    "owned_by": values.text(64),
    "weight": values.number(0.001, 1_000),
    "context_length": values.whole(1, 100_000_000),
    "max_output_tokens": values.whole(1, 100_000_000),
    "capabilities": values.some_of(CAPABILITIES, '["tools", "json"]'),
    "max_concurrency": values.whole(1, 100_000),
    "min_concurrency": values.whole(1, 100_000),
    "requests_per_minute": values.whole(1, 100_000_000),
    "tokens_per_minute": values.whole(1, 1_000_000_000_000),
    "connect_timeout_s": values.seconds(0.1, 60),
    "first_byte_timeout_s": values.seconds(0.1, 3600),
    "read_timeout_s": values.seconds(0.1, 3600),
    "max_reply_bytes": values.whole(1_000, 256_000_000),
    "stream_usage": values.flag,
    "http2": values.flag,
    "merge_items": values.whole(1, 100_000),
    "merge_tokens": values.whole(1, 100_000_000),
    "batch_api": values.flag,
}
#: What only a server has.
_REMOTE_KEYS: Final = (
    "base_url", "api_key_env", "connect_timeout_s", "first_byte_timeout_s", "read_timeout_s", "http2", "batch_api",
)  # fmt: skip
_ANTHROPIC_ENDPOINTS: Final = frozenset({"/v1/chat/completions"})


def read_deployments(tables: Any, cores: int, problems: list[Problem]) -> list[Deployment]:
    """Return the deployments that can be used, in the order of the file; the mistakes of all go to `problems`."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        Reader(problems, "deployments").refuse(None, "must be written as [[deployments]] tables")
        return []
    shared = Counter(table.get("model") for table in tables if isinstance(table.get("model"), str))
    found: list[Deployment] = []
    for index, table in enumerate(tables):
        deployment = _deployment(table, Reader(problems, "deployments", index), cores, shared)
        if deployment is None:
            continue
        if any(other.name == deployment.name for other in found):
            key = "name" if "name" in table else "model"
            message = f'"{deployment.name}" is already the name of another deployment'
            problems.append(Problem("deployments", index, key, message))
        found.append(deployment)
    return found


def _deployment(table: Mapping[str, Any], reader: Reader, cores: int, shared: Counter[str]) -> Deployment | None:
    before = len(reader.problems)
    found = reader.read(table, _KEYS, tables=("price",))
    for key in ("model", "provider"):
        if key not in table:
            reader.refuse(None, f"needs `{key}`")
    if "price" in table:
        found["price"] = _price(table["price"], reader.below("price"))
    model = found.get("model")
    if "name" not in table and shared[str(model)] > 1:
        reader.refuse(None, f'needs `name`: model "{model}" has several deployments, and each needs a name of its own')
    _check_provider(found.get("provider"), table, reader)
    if len(reader.problems) == before:
        if found["provider"] == "local":
            found.setdefault("max_concurrency", cores)
        deployment = Deployment(**{"name": model, "upstream_model": model, **found})
        _check_sizes(deployment, reader)
        _check_sharing(deployment, reader)
        return deployment if len(reader.problems) == before else None
    return None


def _price(table: Any, reader: Reader) -> Price | None:
    before = len(reader.problems)
    found = reader.read(table, _PRICE_KEYS)
    if len(reader.problems) > before:
        return None
    if "input" not in found:
        reader.refuse(None, "needs `input`, in USD per million tokens")
        return None
    # Embeddings have no output to pay for.
    price = Price(**{"output": found["input"] * 0, **found})
    if price.cached is not None and price.cached > price.input:
        reader.refuse("cached", f"must not be above `input` ({price.input})")
    return price


def _check_provider(provider: Any, table: Mapping[str, Any], reader: Reader) -> None:
    if provider in ("openai", "anthropic") and "base_url" not in table:
        reader.refuse(None, f'needs `base_url` (provider "{provider}" talks to a server)')
    if provider == "local":
        for key in _REMOTE_KEYS:
            if key in table:
                reader.refuse(key, 'has no meaning for provider "local", which runs inside the worker')
    if provider == "anthropic" and table.get("batch_api") is True:
        reader.refuse("batch_api", "is for OpenAI-style Batch APIs, which this provider does not have")


def _check_sizes(deployment: Deployment, reader: Reader) -> None:
    if deployment.min_concurrency > deployment.max_concurrency:
        reader.refuse("min_concurrency", f"must not be above `max_concurrency` ({deployment.max_concurrency})")
    output, context = deployment.max_output_tokens, deployment.context_length
    if output is not None and context is not None and output > context:
        reader.refuse("max_output_tokens", f"must not be above `context_length` ({context})")
    if deployment.provider == "anthropic" and not deployment.endpoints <= _ANTHROPIC_ENDPOINTS:
        reader.refuse("endpoints", f'provider "anthropic" answers only {", ".join(_ANTHROPIC_ENDPOINTS)}')


def _check_sharing(deployment: Deployment, reader: Reader) -> None:
    if deployment.merge_items > 1 and not deployment.endpoints & MERGEABLE:
        reader.refuse("merge_items", f"needs an endpoint whose calls can be merged: {', '.join(sorted(MERGEABLE))}")
    if deployment.merge_tokens is not None and deployment.merge_items == 1:
        reader.refuse("merge_tokens", "has no meaning without `merge_items` above 1")
    if deployment.batch_api and not deployment.endpoints & BATCHABLE:
        reader.refuse("batch_api", f"needs an endpoint that Batch APIs take: {', '.join(sorted(BATCHABLE))}")
