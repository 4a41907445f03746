"""The simulated accelerator: every endpoint that takes lists, and four calls at once."""

import asyncio
from typing import Any

import pytest

from tests.integration.batching.conftest import Bench

ASKED: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/embeddings", {"input": ["a", "b", "c"]}, "data"),
    ("/v1/moderations", {"input": ["a", "b", "c"]}, "results"),
    ("/v1/completions", {"prompt": ["a", "b", "c"]}, "choices"),
    ("/v1/rerank", {"query": "a", "documents": ["a", "b", "c"]}, "results"),
]


@pytest.mark.parametrize(("endpoint", "body", "parts"), ASKED)
async def test_lists_are_answered_item_by_item(bench: Bench, endpoint: str, body: dict[str, Any], parts: str) -> None:
    reply = await bench.direct(body, endpoint)
    assert len(reply.body[parts]) == 3
    assert bench.sizes() == [3]


async def test_only_as_many_calls_as_it_has_slots_are_worked_on(bench: Bench) -> None:
    bench.simulator.control(latency_ms=100)
    calls = [asyncio.create_task(bench.direct({"input": str(number)})) for number in range(8)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) <= 4
    await asyncio.gather(*calls)


async def test_texts_of_the_four_sizes_are_as_long_as_their_prompts_ask_for(bench: Bench) -> None:
    bench.setting(upstream_model="sim/nano")
    bench.simulator.control(ttft_ms=0, tokens_per_s=0)
    short, long = [await bench.direct({"prompt": "why? " * times}, "/v1/completions") for times in (2, 200)]
    assert short.usage is not None and long.usage is not None
    assert 30 <= short.usage.output_tokens < long.usage.output_tokens <= 600
    assert short.body["choices"][0]["text"].startswith("[sim]")
