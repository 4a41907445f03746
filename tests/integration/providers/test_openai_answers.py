"""The `openai` provider over real sockets: whole and streamed answers of every endpoint."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.simulator import RunningSimulator
from workers.providers.protocol import Delta, ProviderError

Ask = Callable[..., dict[str, Any]]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": ["x", "y"]},
    "/v1/responses": {"input": "x"},
}


async def test_a_whole_answer_comes_with_usage_and_timing(call: Any, ask: Ask) -> None:
    reply = await call(ask())
    content = reply.body["choices"][0]["message"]["content"]
    assert content.startswith("[sim] ")
    assert reply.usage is not None
    assert reply.usage.output_tokens == 24
    assert reply.usage.total_tokens == reply.usage.input_tokens + 24
    assert reply.timing.connect_ms is not None and reply.timing.upstream_ms is not None
    assert reply.timing.ttft_ms is None


async def test_a_streamed_answer_is_the_same_as_the_whole_one(call: Any, ask: Ask) -> None:
    deltas: list[Delta] = []
    whole = await call(ask())
    streamed = await call(ask(), stream=True, on_delta=deltas.append)
    assert streamed.body["object"] == "chat.completion"
    assert streamed.body["choices"][0]["message"]["content"] == whole.body["choices"][0]["message"]["content"]
    assert "".join(delta.text for delta in deltas) == streamed.body["choices"][0]["message"]["content"]
    assert streamed.usage == whole.usage
    assert streamed.timing.ttft_ms is not None


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"logprobs": True},
        {"max_tokens": 3},
        {"sim": {"refusal": "I would rather not"}},
        {"sim": {"reasoning": "a coat is a garment"}},
        {"sim": {"tool_calls": [{"name": "f", "arguments": '{"x": [1, 2]}'}, {"name": "g", "arguments": "{}"}]}},
        {"sim": {"text": 'Grüße, "Zeichen" und 🧥 bleiben ganz'}},
    ],
)
async def test_a_stream_assembles_to_the_whole_message_whatever_it_holds(call: Any, ask: Ask, more: Any) -> None:
    whole = (await call(ask(**more))).body["choices"]
    streamed = (await call(ask(**more), stream=True)).body["choices"]
    for one, other in zip(whole, streamed, strict=True):
        assert {name: value for name, value in other["message"].items() if value is not None} == {
            name: value for name, value in one["message"].items() if value is not None
        }
        assert (one["finish_reason"], one["logprobs"]) == (other["finish_reason"], other["logprobs"])


@pytest.mark.parametrize("endpoint", BODIES)
async def test_every_text_endpoint_streams(call: Any, endpoint: str) -> None:
    body = {"model": "sim/fast", **BODIES[endpoint]}
    deltas: list[Delta] = []
    whole = await call(body, endpoint=endpoint)
    streamed = await call(body, endpoint=endpoint, stream=True, on_delta=deltas.append)
    member = "output" if endpoint == "/v1/responses" else "choices"
    texts = [[_text(item) for item in reply.body[member]] for reply in (whole, streamed)]
    assert texts[0] == texts[1]
    assert "".join(delta.text for delta in deltas) == texts[0][0]
    assert streamed.usage == whole.usage is not None


def _text(item: dict[str, Any]) -> str:
    if "content" in item:
        return str(item["content"][0]["text"])
    return str(item["message"]["content"] if "message" in item else item["text"])


async def test_embeddings_are_mapped_by_index_and_not_by_position(call: Any) -> None:
    body = {"model": "sim/embed", "input": ["a", "b", "c"]}
    straight = await call(body, endpoint="/v1/embeddings")
    shuffled = await call({**body, "sim": {"malformed": "shuffled"}}, endpoint="/v1/embeddings")
    assert shuffled.body["data"] == straight.body["data"]
    with pytest.raises(ProviderError, match="one embedding for each of 3 inputs"):
        await call({**body, "sim": {"malformed": "missing_item"}}, endpoint="/v1/embeddings")


async def test_moderations_and_rerank_answer(call: Any) -> None:
    flagged = await call({"model": "sim/moderate", "input": ["fine", "flagme"]}, endpoint="/v1/moderations")
    assert [result["flagged"] for result in flagged.body["results"]] == [False, True]
    body = {"model": "sim/rerank", "query": "blue coat", "documents": ["a hat", "a blue coat", "a coat"]}
    ranked = await call(body, endpoint="/v1/rerank")
    assert [result["index"] for result in ranked.body["results"]] == [1, 2, 0]


async def test_pieces_arrive_while_the_upstream_is_still_writing(
    call: Any, ask: Ask, simulator: RunningSimulator
) -> None:
    arrived = asyncio.Event()
    body = ask(sim={"malformed": "stream_hang", "after_tokens": 3})
    task = asyncio.create_task(call(body, stream=True, on_delta=lambda _: arrived.set()))
    await asyncio.wait_for(arrived.wait(), 20)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(simulator.wait_for, min_cancelled=1)


async def test_an_upstream_that_does_not_stream_is_read_whole(call: Any, ask: Ask) -> None:
    # `huge` of some bytes is a valid whole answer, which the simulator sends whatever was asked for.
    deltas: list[Delta] = []
    body = ask(sim={"malformed": "huge", "bytes": 10})
    reply = await call(body, stream=True, on_delta=deltas.append)
    assert [delta.text for delta in deltas] == [reply.body["choices"][0]["message"]["content"]] == ["[sim] xxxxxxxxxx"]


async def test_the_upstream_gets_its_own_model_name_the_trace_and_the_job(
    call: Any, ask: Ask, simulator: RunningSimulator
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    deployment = call.deployment("sim/fast", model="house-model", name="house")
    call.deployments["house-model"] = deployment
    await call(ask("house-model"), headers={"traceparent": trace, "x-coatcheck-job-id": "job_1"})
    (seen,) = simulator.stats()["last"]
    assert (seen["model"], seen["traceparent"], seen["job_id"]) == ("sim/fast", trace, "job_1")


async def test_a_large_body_arrives_whole(call: Any, ask: Ask) -> None:
    reply = await call(ask(prompt="x" * 5_000_000))
    assert reply.usage is not None and reply.usage.input_tokens > 5_000_000 // 4


async def test_the_callers_body_is_not_changed(call: Any, ask: Ask) -> None:
    body = ask(stream=True, stream_options={"include_obfuscation": False})
    await call(body, stream=True)
    await call(body, stream=False)
    assert body == ask(stream=True, stream_options={"include_obfuscation": False})


async def test_a_connection_is_used_again(call: Any, ask: Ask, simulator: RunningSimulator) -> None:
    before = simulator.stats()["connections"]
    replies = [await call(ask(), stream=stream) for stream in (False, True, False, True)]
    assert simulator.stats()["connections"] == before + 1
    assert [reply.timing.connect_ms is None for reply in replies] == [False, True, True, True]


async def test_many_calls_are_in_flight_at_once(call: Any, ask: Ask, simulator: RunningSimulator) -> None:
    tasks = [asyncio.create_task(call(ask(sim={"hang": True}))) for _ in range(600)]
    await asyncio.to_thread(simulator.wait_for, min_in_flight=600)
    await asyncio.to_thread(simulator.control, release=True)
    replies = await asyncio.gather(*tasks)
    assert len(replies) == simulator.stats()["completed"] == 600


async def test_proxies_of_the_environment_are_not_asked(call: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await call(ask())
