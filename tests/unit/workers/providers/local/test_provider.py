import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from policies.catalog import Deployment
from workers.providers.local import LocalProvider
from workers.providers.protocol import Call, Delta, ProviderError

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


@pytest.fixture
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider()
    await provider.warm()
    yield provider
    await provider.aclose()


def call(model: str, endpoint: str, *, stream: bool = False, timeout_s: float = 60.0, **body: Any) -> Call:
    deployment = Deployment(name=model, model=model, provider="local", endpoints=frozenset({endpoint}))
    return Call(deployment, endpoint, {"model": model, **body}, stream, timeout_s, {})


def chat(model: str, text: Any, **rest: Any) -> Call:
    return call(f"local/{model}", CHAT, messages=[{"role": "user", "content": text}], **rest)


def embed(given: Any, **rest: Any) -> Call:
    return call("local/embed", EMBEDDINGS, input=given, **rest)


async def test_a_summary_is_a_chat_completion(provider: LocalProvider, examples: dict[str, str]) -> None:
    reply = await provider.call(chat("summarize", "Summarize in 2 sentences:\n" + examples["heat-pumps"]), None)
    choice = reply.body["choices"][0]
    assert reply.body["object"] == "chat.completion"
    assert reply.body["model"] == "local/summarize"
    assert (choice["finish_reason"], choice["message"]["role"]) == ("stop", "assistant")
    assert choice["message"]["content"].startswith("A heat pump takes heat from a cold place")
    assert reply.usage is not None
    assert reply.body["usage"] == {
        "prompt_tokens": reply.usage.input_tokens,
        "completion_tokens": reply.usage.output_tokens,
        "total_tokens": reply.usage.input_tokens + reply.usage.output_tokens,
    }


async def test_a_streamed_answer_equals_the_body(provider: LocalProvider, example: str) -> None:
    loop_thread = asyncio.get_running_loop()
    deltas: list[Delta] = []

    def on_delta(delta: Delta) -> None:
        assert asyncio.get_running_loop() is loop_thread
        deltas.append(delta)

    reply = await provider.call(chat("keypoints", example, stream=True), on_delta)
    assert len(deltas) > 3
    assert "".join(delta.text for delta in deltas) == reply.body["choices"][0]["message"]["content"]
    assert deltas[-1].choice == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert reply.timing.ttft_ms is not None
    assert reply.timing.upstream_ms is not None


async def test_text_parts_and_system_messages_are_read(provider: LocalProvider, examples: dict[str, str]) -> None:
    messages = [
        {"role": "system", "content": "Answer in four bullet points."},
        {"role": "user", "content": [{"type": "text", "text": examples["fluss"]}]},
    ]
    reply = await provider.call(call("local/summarize", CHAT, messages=messages), None)
    assert reply.body["choices"][0]["message"]["content"].count("\n- ") == 3


async def test_a_cut_answer_says_length(provider: LocalProvider, examples: dict[str, str]) -> None:
    reply = await provider.call(chat("summarize", examples["fluss"], max_tokens=4), None)
    assert reply.body["choices"][0]["finish_reason"] == "length"
    assert reply.usage is not None
    assert reply.usage.output_tokens <= 4


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": "é" * 100_001}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user", "content": "A text."}], "max_tokens": 0},
        {"messages": [{"role": "user", "content": "A text."}], "n": 2},
    ],
)
async def test_chat_requests_that_cannot_be_served_are_refused(provider: LocalProvider, body: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as refused:
        await provider.call(call("local/summarize", CHAT, **body), None)
    assert (refused.value.code, refused.value.retryable) == ("invalid_request", False)


async def test_embeddings_come_in_order_with_their_usage(provider: LocalProvider) -> None:
    reply = await provider.call(embed(["a river", "a stone", "a river"]), None)
    data = reply.body["data"]
    assert [item["index"] for item in data] == [0, 1, 2]
    assert data[0]["embedding"] == data[2]["embedding"] != data[1]["embedding"]
    assert len(data[0]["embedding"]) == 256
    assert reply.usage is not None
    assert reply.body["usage"]["prompt_tokens"] == reply.usage.input_tokens > 3


@pytest.mark.parametrize("dimensions", [64, 128, 256])
async def test_base64_holds_the_same_floats(provider: LocalProvider, dimensions: int) -> None:
    plain = await provider.call(embed("a river", dimensions=dimensions), None)
    packed = await provider.call(embed("a river", dimensions=dimensions, encoding_format="base64"), None)
    unpacked = np.frombuffer(base64.b64decode(packed.body["data"][0]["embedding"]), dtype="<f4")
    assert unpacked.tolist() == plain.body["data"][0]["embedding"]
    assert len(unpacked) == dimensions


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": []},
        {"input": ""},
        {"input": ["a", ""]},
        {"input": [1, 2, 3]},
        {"input": [[1, 2], [3]]},
        {"input": ["a"] * 2_049},
        {"input": "a", "dimensions": 100},
        {"input": "a", "dimensions": "256"},
        {"input": "a", "dimensions": [256]},
        {"input": "a", "encoding_format": "int8"},
    ],
)
async def test_embedding_requests_that_cannot_be_served_are_refused(
    provider: LocalProvider, body: dict[str, Any]
) -> None:
    with pytest.raises(ProviderError) as refused:
        await provider.call(call("local/embed", EMBEDDINGS, **body), None)
    assert (refused.value.code, refused.value.retryable) == ("invalid_request", False)


async def test_a_model_is_refused_on_an_endpoint_that_it_does_not_serve(provider: LocalProvider) -> None:
    with pytest.raises(ProviderError, match="does not serve"):
        await provider.call(call("local/embed", CHAT, messages=[]), None)


async def test_cancelled_calls_end_at_once_and_leave_the_pool_usable(examples: dict[str, str]) -> None:
    provider = LocalProvider(threads=1)
    await provider.warm()
    long = (examples["time-in-software"] * 6)[:190_000]
    abandoned = [asyncio.create_task(provider.call(chat("summarize", long), None)) for _ in range(20)]
    await asyncio.sleep(0)  # one turn of the loop: all twenty are handed to the pool
    for task in abandoned:
        task.cancel()
    results = await asyncio.gather(*abandoned, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    reply = await provider.call(chat("summarize", examples["fluss"]), None)
    assert reply.body["choices"]
    await provider.aclose()


async def test_a_call_past_its_limit_times_out(provider: LocalProvider, examples: dict[str, str]) -> None:
    with pytest.raises(ProviderError) as late:
        await provider.call(chat("summarize", examples["street-trees"], timeout_s=0.0), None)
    assert (late.value.code, late.value.retryable) == ("timeout", True)


async def test_only_the_first_warming_costs_something() -> None:
    provider = LocalProvider()
    deployment = Deployment(
        name="local/classify", model="local/classify", provider="local", endpoints=frozenset({CHAT, "/v1/moderations"})
    )
    first, second = await provider.warm(deployment), await provider.warm(deployment)
    assert first.connect_ms is not None and first.error is None
    assert second.connect_ms is None
    await provider.aclose()
