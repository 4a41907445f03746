"""From OpenAI's request to Anthropic's: what the written exchanges don't show."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.catalog import Deployment
from workers.providers.anthropic.messages import conversation
from workers.providers.anthropic.request import message_request
from workers.providers.protocol import ProviderError

HELLO = [{"role": "user", "content": "hello"}]


def translated(
    *, sampling: bool = True, deployment: dict[str, Any] | None = None, **body: Any
) -> tuple[Any, list[str]]:
    target = Deployment(name="c", model="claude", provider="anthropic", **(deployment or {}))
    return message_request({"messages": HELLO, **body}, target, stream=False, sampling=sampling)


@pytest.mark.parametrize(
    ("body", "most", "sent"),
    [
        ({}, None, 4096),
        ({}, 64_000, 64_000),
        ({"max_tokens": 10}, 64_000, 10),
        ({"max_completion_tokens": 20, "max_tokens": 10}, None, 20),
        ({"max_tokens": 100_000}, 64_000, 64_000),
    ],
)
def test_a_limit_of_tokens_is_always_sent_and_never_above_the_models(
    body: dict[str, Any], most: int | None, sent: int
) -> None:
    assert translated(deployment={"max_output_tokens": most}, **body)[0]["max_tokens"] == sent


@pytest.mark.parametrize(
    ("body", "sent", "ignored"),
    [
        ({"temperature": 0.3}, {"temperature": 0.3}, []),
        ({"temperature": 1.7}, {"temperature": 1}, []),
        ({"top_p": 0.9}, {"top_p": 0.9}, []),
        ({"temperature": 0, "top_p": 0.9}, {"temperature": 0}, ["top_p"]),
        ({"temperature": None, "top_k": 5}, {"top_k": 5}, []),
    ],
)
def test_sampling_is_sent_as_far_as_the_api_goes(
    body: dict[str, Any], sent: dict[str, Any], ignored: list[str]
) -> None:
    request, left = translated(**body)
    assert {name: request[name] for name in ("temperature", "top_p", "top_k") if name in request} == sent
    assert left == ignored


def test_a_model_without_sampling_is_not_sent_any() -> None:
    request, left = translated(sampling=False, temperature=0.3, top_p=1)
    assert not {"temperature", "top_p"} & set(request)
    assert left == ["temperature", "top_p"]


def test_what_only_steers_is_left_out_and_named() -> None:
    _, left = translated(seed=7, frequency_penalty=0.5, presence_penalty=0, logit_bias={"1": 2}, service_tier="flex")
    assert left == ["seed", "frequency_penalty", "logit_bias", "service_tier"]


def test_what_means_nothing_to_the_answer_is_left_out_without_a_word() -> None:
    request, left = translated(store=True, metadata={"a": "b"}, stream_options={"include_usage": True})
    assert sorted(request) == ["max_tokens", "messages", "model"]
    assert left == []


@pytest.mark.parametrize(
    ("effort", "able", "sent", "ignored"),
    [
        ("high", True, ({"effort": "high"}, {"type": "adaptive"}), []),
        ("minimal", True, ({"effort": "low"}, None), []),
        ("high", False, (None, None), ["reasoning_effort"]),
    ],
)
def test_effort_is_for_models_that_reason(effort: str, able: bool, sent: Any, ignored: list[str]) -> None:
    capabilities = frozenset({"reasoning"}) if able else frozenset()
    request, left = translated(deployment={"capabilities": capabilities}, reasoning_effort=effort)
    assert (request.get("output_config"), request.get("thinking")) == sent
    assert left == ignored


def test_who_is_to_think_is_not_sampled_otherwise() -> None:
    able = {"capabilities": frozenset({"reasoning"})}
    request, left = translated(deployment=able, reasoning_effort="high", temperature=0.3, top_p=0.9)
    assert not {"temperature", "top_p"} & set(request)
    assert sorted(left) == ["temperature", "top_p"]
    request, left = translated(deployment=able, thinking={"type": "enabled", "budget_tokens": 2000}, temperature=1)
    assert (request["temperature"], left) == (1, [])
    assert translated(deployment=able, reasoning_effort="minimal", temperature=0.3)[0]["temperature"] == 0.3


def test_who_must_call_a_tool_does_not_think_first() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    able = {"capabilities": frozenset({"reasoning"})}
    request, _ = translated(deployment=able, reasoning_effort="high", tools=tools, tool_choice="required")
    assert (request["output_config"], request.get("thinking")) == ({"effort": "high"}, None)
    request, _ = translated(deployment=able, reasoning_effort="high", tools=tools, tool_choice="auto")
    assert request["thinking"] == {"type": "adaptive"}


def test_a_loose_wish_for_json_goes_into_the_system_prompt() -> None:
    request, _ = translated(response_format={"type": "json_object"})
    assert "JSON object" in request["system"][0]["text"]
    loose = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    request, _ = translated(response_format=loose)
    assert '{"type":"object"}' in request["system"][0]["text"]
    assert "output_config" not in request
    assert "system" not in translated(response_format={"type": "text"})[0]


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        ("none", False, {"type": "none"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", True, {"type": "any"}),
    ],
)
def test_the_choice_of_tools_is_translated(choice: Any, parallel: Any, sent: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    request, _ = translated(tools=tools, tool_choice=choice, parallel_tool_calls=parallel)
    assert request.get("tool_choice") == sent
    assert "tool_choice" not in translated(tool_choice="auto")[0]


def said_by(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(parts)}]}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": url}


def called(**call: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", **call}]}]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"n": 2}, "n must be 1"),
        ({"logprobs": True}, "log probabilities"),
        ({"modalities": ["text", "audio"]}, "text only"),
        ({"functions": [{"name": "f"}]}, "use tools"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": None}, "list"),
        ({"messages": ["x"]}, "object"),
        ({"messages": [{"role": "system", "content": "x"}]}, "besides the system prompt"),
        ({"messages": [{"role": "assistant", "content": "  "}]}, "besides the system prompt"),
        ({"messages": [{"role": "function", "content": "x"}]}, "no counterpart"),
        (said_by("user", {"type": "input_audio"}), "input_audio"),
        (said_by("user", image("ftp://x")), "image"),
        (said_by("user", image({"url": "data:image/tiff;base64,AA"})), "JPEG"),
        (said_by("assistant", image("https://x/y")), "assistant message"),
        (said_by("user", {"type": "file", "file": {"file_id": "f"}}), "file_data"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "id"),
        (called(function={"name": "f", "arguments": "[1]"}), "JSON object"),
        (called(function={"name": "f", "arguments": "{"}), "JSON object"),
        (called(type="custom"), "function"),
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "type function"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"reasoning_effort": "gigantic"}, "reasoning_effort"),
    ],
)
def test_what_the_api_cannot_express_is_refused(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        translated(**body)
    assert (caught.value.code, caught.value.retryable) == ("invalid_request", False)


def test_a_beginning_put_into_the_assistants_mouth_ends_without_white_space() -> None:
    _, turns = conversation([*HELLO, {"role": "assistant", "content": "The hook is \n"}])
    assert turns[-1]["content"][-1]["text"] == "The hook is"


SIMPLE = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "assistant", "system", "developer"]),
    st.one_of(
        st.text(max_size=20),
        st.none(),
        st.lists(st.text(max_size=5).map(lambda text: {"type": "text", "text": text}), max_size=3),
    ),
)


@given(st.lists(SIMPLE, max_size=12))
def test_turns_take_turns_and_nothing_but_white_space_is_lost(messages: list[dict[str, Any]]) -> None:
    if not any(words(message["content"]) for message in messages if message["role"] in ("user", "assistant")):
        with pytest.raises(ProviderError):
            conversation(messages)
        return
    system, turns = conversation(messages)
    assert all(one["role"] != other["role"] for one, other in itertools.pairwise(turns))
    assert all(turn["content"] for turn in turns)
    blocks = [*system, *(block for turn in turns for block in turn["content"])]
    assert all(block["text"].strip() for block in blocks)
    sent = "".join(words(block["text"]) for block in blocks)
    assert sorted(sent) == sorted("".join(words(message["content"]) for message in messages))


def words(content: Any) -> str:
    """Everything but white space."""
    text = "".join(part["text"] for part in content) if isinstance(content, list) else content or ""
    return "".join(text.split())
