"""Providers run model calls. `protocol` is the contract; `openai` and `local` fulfil it."""

from collections.abc import Mapping

from policies.catalog import Catalog
from workers.providers.local.provider import LocalProvider
from workers.providers.openai import OpenAIProvider
from workers.providers.protocol import Provider


def open_providers() -> Mapping[str, Provider]:
    """Return one provider for each provider name of the catalog. Call it on the event loop that will use them."""
    return {"openai": OpenAIProvider(), "local": LocalProvider()}


async def warm(providers: Mapping[str, Provider], catalog: Catalog) -> None:
    """Load what the catalog's deployments need, so that the first job doesn't wait for it."""
    local = providers.get("local")
    if isinstance(local, LocalProvider) and catalog.has_provider("local"):
        await local.warm()
