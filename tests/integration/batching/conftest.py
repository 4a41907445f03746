import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from core.catalog import simulated
from policies.catalog import ENDPOINTS
from tests.support.simulator import RunningSimulator
from workers.batching import Merger
from workers.providers.openai import OpenAIProvider
from workers.providers.protocol import Call, Delta, Reply

EMBED = "/v1/embeddings"


class Bench:
    """A merger in front of the simulator's accelerator. Calls are begun like jobs: as tasks of their own."""

    def __init__(self, simulator: RunningSimulator) -> None:
        self.simulator = simulator
        self.slots = 4
        self.provider = OpenAIProvider(environment={})
        self.merger = Merger(self.provider, lambda _: self.slots)
        (gpu,) = (one for one in simulated(simulator.url) if one.name == "sim/gpu")
        self.deployment = dataclasses.replace(gpu, endpoints=ENDPOINTS, merge_items=64, merge_tokens=None)

    def setting(self, **changes: Any) -> None:
        """Change the deployment, as an edited catalog does."""
        self.deployment = dataclasses.replace(self.deployment, **changes)

    def call(
        self,
        body: dict[str, Any],
        endpoint: str = EMBED,
        *,
        stream: bool = False,
        timeout_s: float = 30,
        headers: dict[str, str] | None = None,
        alone: bool = False,
        on_delta: Callable[[Delta], None] | None = None,
    ) -> "asyncio.Task[Reply]":
        """Begin a call."""
        made = Call(self.deployment, endpoint, {"model": "sim/gpu", **body}, stream, timeout_s, headers or {}, alone)
        return asyncio.create_task(self.merger.call(made, on_delta))

    def embed(self, *texts: str, **more: Any) -> "list[asyncio.Task[Reply]]":
        """Begin a call for each text."""
        return [self.call({"input": text}, **more) for text in texts]

    async def direct(self, body: dict[str, Any], endpoint: str = EMBED) -> Reply:
        """What the upstream says without a merger between."""
        return await self.provider.call(
            Call(self.deployment, endpoint, {"model": "sim/gpu", **body}, False, 30, {}), None
        )

    async def taken(self) -> "list[asyncio.Task[Reply]]":
        """Fill all slots with calls that hang until `release`."""
        self.simulator.control(hang=True)
        hanging = [self.call({"input": f"hanging {number}", "user": str(number)}) for number in range(self.slots)]
        await self.reached(min_in_flight=self.slots)
        self.simulator.control(clear=True)
        return hanging

    def release(self) -> None:
        """Let what hangs go on."""
        self.simulator.control(release=True)

    async def reached(self, **conditions: int) -> dict[str, Any]:
        """The upstream's counts once all conditions hold."""
        return await asyncio.to_thread(self.simulator.wait_for, **conditions)

    def sizes(self) -> list[int]:
        """Items of the calls that the upstream saw, in order."""
        return [seen["items"] for seen in self.simulator.stats()["last"]]


async def turn() -> None:
    """Let everything that may start begin: a call's task, then the turn in which calls are put together."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
async def bench(simulator: RunningSimulator) -> AsyncIterator[Bench]:
    made = Bench(simulator)
    yield made
    await made.merger.aclose()
