"""The `anthropic` provider against written exchanges, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from policies.catalog import Deployment
from tests.integration.providers.replay import Exchange, ReplayServer, exchanges
from workers.providers.anthropic import AnthropicProvider
from workers.providers.limits import Allowance
from workers.providers.protocol import Call, Delta, ProviderError, Reply

CHAT = "/v1/chat/completions"
KEY = "sk-ant-test-0123456789"
EXCHANGES = {exchange.name: exchange for exchange in exchanges()}


@pytest.fixture
async def server() -> AsyncIterator[ReplayServer]:
    async with ReplayServer() as server:
        yield server


@pytest.fixture
async def provider() -> AsyncIterator[AnthropicProvider]:
    provider = AnthropicProvider(environment={"TEST_KEY": KEY})
    yield provider
    await provider.aclose()


Ask = Callable[..., Any]


@pytest.fixture
def ask(server: ReplayServer, provider: AnthropicProvider) -> Ask:
    async def ask(body: dict[str, Any], on_delta: Callable[[Delta], None] | None = None, **changes: Any) -> Reply:
        settings: dict[str, Any] = {
            "name": "claude",
            "model": "claude",
            "provider": "anthropic",
            "base_url": server.url + "/v1",
            "api_key_env": "TEST_KEY",
            "upstream_model": "claude-sonnet-4-6",
            "capabilities": frozenset({"vision", "tools", "json", "reasoning"}),
        }
        deployment = Deployment(**{**settings, **changes})
        stream = body.get("stream", False)
        return await provider.call(Call(deployment, CHAT, body, stream, 20, {"x-coatcheck-job-id": "job_1"}), on_delta)

    return ask


def merged(deltas: list[Delta]) -> dict[str, Any]:
    """What a listener who knows OpenAI's chunks makes of them."""
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": {}, "finish_reason": None}
    for delta in deltas:
        said["content"] += delta.text
        piece = (delta.choice or {}).get("delta", {})
        said["reasoning_content"] += piece.get("reasoning_content", "")
        for call in piece.get("tool_calls", ()):
            known = said["tool_calls"].setdefault(call["index"], {"name": "", "arguments": ""})
            known["name"] += call["function"].get("name", "")
            known["arguments"] += call["function"].get("arguments", "")
        said["finish_reason"] = (delta.choice or {}).get("finish_reason") or said["finish_reason"]
    return said


@pytest.mark.parametrize("exchange", [one for one in EXCHANGES.values() if one.answer is not None], ids=str)
async def test_an_exchange_goes_out_and_comes_back_as_written(
    ask: Ask, server: ReplayServer, exchange: Exchange
) -> None:
    server.will_answer(*exchange.responses)
    deltas: list[Delta] = []
    reply = await ask(exchange.request, deltas.append)
    assert server.bodies == [exchange.sent]
    assert exchange.answer is not None
    assert {name: reply.body[name] for name in exchange.answer} == exchange.answer
    message = reply.body["choices"][0]["message"]
    if exchange.request.get("stream"):
        said = merged(deltas)
        assert said["content"] == (message["content"] or "")
        assert said["reasoning_content"] == message.get("reasoning_content", "")
        assert [call["arguments"] for call in said["tool_calls"].values()] == [
            call["function"]["arguments"] for call in message.get("tool_calls", ())
        ]
        assert said["finish_reason"] == reply.body["choices"][0]["finish_reason"]


@pytest.mark.parametrize("exchange", [one for one in EXCHANGES.values() if one.error is not None], ids=str)
async def test_an_error_is_told_apart_as_written(ask: Ask, server: ReplayServer, exchange: Exchange) -> None:
    server.will_answer(*exchange.responses)
    with pytest.raises(ProviderError) as caught:
        await ask(exchange.request)
    assert server.bodies == [exchange.sent]
    assert exchange.error is not None
    assert {name: getattr(caught.value, name) for name in exchange.error} == exchange.error


async def test_the_headers_name_the_key_the_version_and_the_job(ask: Ask, server: ReplayServer) -> None:
    server.will_answer(*EXCHANGES["text"].responses)
    await ask(EXCHANGES["text"].request)
    (headers,) = server.headers
    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["x-coatcheck-job-id"] == "job_1"
    assert "authorization" not in headers
    assert server.paths == ["/v1/messages"]


async def test_usage_timing_and_limits_come_along(ask: Ask, server: ReplayServer) -> None:
    server.will_answer(*EXCHANGES["tools_stream"].responses, *EXCHANGES["text"].responses)
    streamed = await ask(EXCHANGES["tools_stream"].request)
    assert (streamed.usage.output_tokens, streamed.usage.reasoning_tokens) == (96, 31)
    assert streamed.timing.connect_ms is not None and streamed.timing.ttft_ms is not None
    whole = await ask(EXCHANGES["text"].request)
    assert (whole.usage.input_tokens, whole.usage.cached_tokens) == (2121, 1800)
    assert whole.timing.connect_ms is None and whole.timing.tokens_per_s is not None
    assert whole.limits.requests == Allowance(1000, 999, 1)
    assert whole.limits.output_tokens == Allowance(90_000, 90_000, 1)


async def test_an_error_tells_the_limits_too(ask: Ask, server: ReplayServer) -> None:
    server.will_answer(*EXCHANGES["error_rate_limit"].responses)
    with pytest.raises(ProviderError) as caught:
        await ask(EXCHANGES["error_rate_limit"].request)
    assert caught.value.limits is not None
    assert caught.value.limits.input_tokens == Allowance(30_000, 0, 14)


async def test_a_model_that_refuses_sampling_parameters_is_asked_without_them(ask: Ask, server: ReplayServer) -> None:
    refusal = {
        "status": 400,
        "headers": {"content-type": "application/json"},
        "body": {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."},
        },
    }
    answer = EXCHANGES["text"].responses[0]
    body = {"messages": [{"role": "user", "content": "Where?"}], "temperature": 0}
    server.will_answer(refusal, answer, answer)
    first, second = await ask(body), await ask(body)
    assert ["temperature" in sent for sent in server.bodies] == [True, False, False]
    assert first.body["ignored_parameters"] == second.body["ignored_parameters"] == ["temperature"]


async def test_a_refusal_that_is_about_something_else_stays_one(ask: Ask, server: ReplayServer) -> None:
    server.will_answer(*EXCHANGES["error_invalid"].responses)
    with pytest.raises(ProviderError, match="valid list"):
        await ask({**EXCHANGES["error_invalid"].request, "temperature": 0})
    assert len(server.bodies) == 1


async def test_an_upstream_that_does_not_stream_is_read_whole(ask: Ask, server: ReplayServer) -> None:
    server.will_answer(*EXCHANGES["text"].responses)
    deltas: list[Delta] = []
    reply = await ask({**EXCHANGES["text"].request, "stream": True}, deltas.append)
    assert "".join(delta.text for delta in deltas) == reply.body["choices"][0]["message"]["content"]


async def test_cancelling_the_task_closes_the_stream_at_the_upstream(ask: Ask, server: ReplayServer) -> None:
    server.will_answer(*EXCHANGES["text_stream"].responses)
    server.held.clear()
    task = asyncio.create_task(ask(EXCHANGES["text_stream"].request))
    while not server.bodies:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(server.gone.wait(), 20)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "completion", "completion": "old"},
        {"type": "message", "content": "text"},
        {"type": "message", "content": [{"type": "tool_use", "id": 3, "name": "f"}]},
        [],
        None,
    ],
)
async def test_what_is_no_message_is_a_bad_reply(ask: Ask, server: ReplayServer, body: Any) -> None:
    server.will_answer({"status": 200, "headers": {"content-type": "application/json"}, "body": body})
    with pytest.raises(ProviderError) as caught:
        await ask(EXCHANGES["text"].request)
    assert (caught.value.code, caught.value.retryable) == ("bad_reply", True)


async def test_other_endpoints_are_refused_without_asking(ask: Ask, server: ReplayServer, provider: Any) -> None:
    deployment = Deployment(name="c", model="c", provider="anthropic", base_url=server.url)
    with pytest.raises(ProviderError, match="does not serve"):
        await provider.call(Call(deployment, "/v1/embeddings", {"input": "x"}, False, 5, {}), None)
    assert server.paths == []


async def test_input_that_was_cut_off_is_told_as_it_came(ask: Ask, server: ReplayServer) -> None:
    response = json.loads(json.dumps(EXCHANGES["tools_stream"].responses[0]))
    events = response["events"]
    cut = next(number for number, event in enumerate(events) if 'et\\":7' in json.dumps(event))
    last = [{**event, "data": {**event["data"], "delta": {"stop_reason": "max_tokens", "stop_sequence": None}}}
            for event in events if event["event"] == "message_delta"]  # fmt: skip
    response["events"] = [*events[:cut], *last]
    server.will_answer(response)
    reply = await ask(EXCHANGES["tools_stream"].request)
    choice = reply.body["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"tick'
