"""Providers run model calls. `protocol` is the contract; `openai`, `anthropic` and `local` fulfil it."""

from collections.abc import Mapping

from workers.providers.anthropic import AnthropicProvider
from workers.providers.local.provider import LocalProvider
from workers.providers.openai import OpenAIProvider
from workers.providers.protocol import Provider


def open_providers() -> Mapping[str, Provider]:
    """Return one provider for each provider name of the catalog. Call it on the event loop that will use them."""
    return {"openai": OpenAIProvider(), "anthropic": AnthropicProvider(), "local": LocalProvider()}
