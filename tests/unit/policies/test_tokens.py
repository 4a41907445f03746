from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.tokens import (
    DEFAULT_OUTPUT,
    EXACT_CHARACTERS,
    count_input,
    encoding_for,
    estimate_tokens,
    output_limit,
    sampled,
)

CHAT = "/v1/chat/completions"


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1-nano-2025-04-14", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("ft:gpt-4o-mini:acme::abc", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("claude-sonnet-4", None),
        ("llama-3.3-70b", None),
        ("sim/large", None),
        ("olmo-2", None),
        ("", None),
    ],
)
def test_the_encoding_follows_the_family_of_the_model(model: str, encoding: str | None) -> None:
    assert encoding_for(model) == encoding


def test_a_chat_counts_its_messages_names_and_the_start_of_the_answer() -> None:
    body: dict[str, Any] = {
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello", "name": "ada"}]
    }
    # 3 to start; each message 3 and its role; a name 1 and itself.
    assert count_input(CHAT, body, words) == 3 + (3 + 1 + 2) + (3 + 1 + 1 + 1 + 1)


def test_pictures_and_tool_calls_of_a_chat_are_counted() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:…", "detail": "low"}}
    plain = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is this"}]}]}
    with_picture = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is this"}, picture]}]}
    assert count_input(CHAT, with_picture, words) - count_input(CHAT, plain, words) == 85
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
    calling = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert count_input(CHAT, calling, words) == 3 + 3 + 1 + 7 + 1 + 2


def test_tools_are_counted_with_their_parameters() -> None:
    location = {"type": "string", "description": "The city."}
    unit = {"type": "string", "description": "unit", "enum": ["celsius", "fahrenheit"]}
    parameters = {"type": "object", "properties": {"location": location, "unit": unit}}
    tool = {
        "type": "function",
        "function": {"name": "weather", "description": "The weather.", "parameters": parameters},
    }
    body = {"messages": [], "tools": [tool]}
    # 7 a function, 12 at the end, 3 for having properties, 3 each, −3 and 3 each for two choices; then the words.
    assert count_input(CHAT, body, words) == 3 + 7 + 12 + 3 + 3 + 3 - 3 + 6 + len(
        "weather:The weather location:string:The city unit:string:unit celsius fahrenheit".split()
    )


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        ("/v1/embeddings", {"input": "two words"}, 2),
        ("/v1/embeddings", {"input": ["two words", "three more words"]}, 5),
        ("/v1/embeddings", {"input": [1, 2, 3]}, 3),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, 3),
        ("/v1/completions", {"prompt": "once upon a time"}, 4),
        ("/v1/moderations", {"input": [{"type": "text", "text": "two words"}]}, 2),
        ("/v1/rerank", {"query": "best coat", "documents": ["a coat", "a hat", {"text": "an umbrella"}]}, 8),
        ("/v1/responses", {"input": "two words"}, 3 + 4 + 2),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": "two words"}], "instructions": "be kind"},
            3 + 4 + 2 + 4 + 2,
        ),
        ("/v1/responses", {"input": [{"type": "function_call_output", "output": "two words"}]}, 3 + 7 + 2),
    ],
)
def test_each_operation_counts_what_its_model_reads(endpoint: str, body: dict[str, Any], tokens: int) -> None:
    assert count_input(endpoint, body, words) == tokens


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "type", "function", "parameters", "properties", "items"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
endpoints = st.sampled_from(
    [CHAT, "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations", "/v1/rerank"]
)
members = st.sampled_from(
    ["messages", "input", "tools", "prompt", "query", "documents", "instructions", "max_tokens", "n"]
)


@given(endpoints, st.dictionaries(members, json_values, max_size=5))
def test_odd_requests_are_counted_without_an_error(endpoint: str, body: dict[str, Any]) -> None:
    assert count_input(endpoint, body, estimate_tokens) >= 0
    assert output_limit(endpoint, body) >= 0


def test_the_answer_is_as_long_as_the_request_allows() -> None:
    assert output_limit(CHAT, {}) == DEFAULT_OUTPUT
    assert output_limit(CHAT, {"max_tokens": 50, "n": 3}) == 150
    assert output_limit(CHAT, {"max_completion_tokens": 70, "max_tokens": 50}) == 70
    assert output_limit("/v1/responses", {"max_output_tokens": 20}) == 20
    assert output_limit(CHAT, {"max_tokens": 99_999}, ceiling=4096) == 4096
    assert output_limit("/v1/embeddings", {"max_tokens": 50}) == 0
    assert output_limit(CHAT, {"max_tokens": True, "n": None}) == DEFAULT_OUTPUT


@given(st.text(max_size=400))
def test_an_estimate_is_positive_for_any_text_and_grows_with_it(text: str) -> None:
    once = estimate_tokens(text)
    assert (once > 0) == bool(text)
    assert estimate_tokens(text * 2) >= once


def test_large_inputs_are_sampled_and_the_sample_stands_for_the_whole() -> None:
    read = 0

    def count(text: str) -> int:
        nonlocal read
        read += len(text)
        return words(text)

    texts = [f"text number {number} has some words. " * 40 for number in range(4000)]
    exact = sum(map(words, texts))
    assert abs(sampled(count)(texts) - exact) <= 0.02 * exact
    assert read == EXACT_CHARACTERS
