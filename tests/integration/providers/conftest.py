import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from core.catalog import simulated
from policies.catalog import Deployment
from tests.support.simulator import RunningSimulator
from workers.providers.openai import OpenAIProvider
from workers.providers.protocol import Call, Delta, Reply

KEY = "sk-test-0123456789abcdef"
CHAT = "/v1/chat/completions"


@pytest.fixture
async def provider() -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider(environment={"TEST_KEY": KEY})
    yield provider
    await provider.aclose()


class Caller:
    """Makes calls to the simulator's models; keyword arguments change the deployment."""

    def __init__(self, provider: OpenAIProvider, url: str) -> None:
        self.provider = provider
        self.deployments = {deployment.name: deployment for deployment in simulated(url)}

    def deployment(self, model: str, /, **changes: Any) -> Deployment:
        return dataclasses.replace(self.deployments[model], **changes)

    async def __call__(
        self,
        body: dict[str, Any],
        *,
        endpoint: str = CHAT,
        stream: bool = False,
        timeout_s: float = 30,
        headers: dict[str, str] | None = None,
        on_delta: Callable[[Delta], None] | None = None,
        **changes: Any,
    ) -> Reply:
        deployment = self.deployment(body["model"], **changes)
        return await self.provider.call(Call(deployment, endpoint, body, stream, timeout_s, headers or {}), on_delta)


@pytest.fixture
def call(provider: OpenAIProvider, simulator: RunningSimulator) -> Caller:
    return Caller(provider, simulator.url)


def chat(model: str = "sim/fast", prompt: str = "Where is my coat?", **more: Any) -> dict[str, Any]:
    """A chat request; `sim={…}` steers the simulator."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


@pytest.fixture
def ask() -> Callable[..., dict[str, Any]]:
    return chat
