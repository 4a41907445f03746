import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cache_keys import (
    VERSION,
    cacheable,
    canonical,
    exact_key,
    last_user_text,
    self_contained,
    semantic_partition,
)

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
MODERATIONS = "/v1/moderations"
RERANK = "/v1/rerank"
ENDPOINTS = (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MODERATIONS, RERANK)
TENANT = UUID(int=7)
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a coat check?"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=12) | st.sampled_from(["1.0", "e+1", '"', "\\", "-0.0,"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


def key(body: Mapping[str, Any], endpoint: str = CHAT, tenant: UUID = TENANT, model: str = "m") -> bytes:
    return exact_key(tenant=tenant, endpoint=endpoint, model=model, body=body)


def partition(body: Mapping[str, Any], endpoint: str = CHAT) -> bytes:
    return semantic_partition(tenant=TENANT, endpoint=endpoint, model="m", body=body)


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": ASKED, **more}


def plain(value: Any) -> Any:
    """A value as mathematics sees it: numbers by what they are worth, and nothing taken for something else."""
    if isinstance(value, dict):
        return ("object", frozenset((name, plain(each)) for name, each in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(plain, value)))
    return (isinstance(value, bool), value is None, value)


def respelled(value: Any) -> Any:
    """The same value, with members in the opposite order and every number in its other spelling."""
    if isinstance(value, dict):
        return {name: respelled(each) for name, each in reversed(value.items())}
    if isinstance(value, list):
        return list(map(respelled, value))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        return float(value)
    if isinstance(value, float) and value == int(value) and abs(value) <= 2**53:
        return int(value)
    return value


@given(values)
def test_order_of_members_and_spelling_of_numbers_do_not_matter(value: Any) -> None:
    body = chat(extra=value)
    assert key(body) == key(respelled(body)) == key(json.loads(json.dumps(body)))


@given(values, values)
def test_two_values_have_one_form_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (plain(one) == plain(other))


@given(st.text())
def test_a_text_that_looks_like_numbers_stays_as_it_is(text: str) -> None:
    assert json.loads(canonical([text, f'{text}1.0"', 1.0, f"{text}2e+16"])) == [text, f'{text}1.0"', 1, f"{text}2e+16"]


@pytest.mark.parametrize("spelling", ["1", "1.0", "1e0", "10e-1", "0.1E1", "1.000"])
def test_a_number_may_be_spelled_as_json_allows(spelling: str) -> None:
    assert key(chat(seed=1)) == key(json.loads(f'{{"messages": {json.dumps(ASKED)}, "seed": {spelling}}}'))


@pytest.mark.parametrize(
    ("one", "other"), [(10**16, 1e16), (2**62, float(2**62)), (0, -0.0), (-3, -3.0), (10**22, 1e22)]
)
def test_large_and_signed_numbers_have_one_spelling_too(one: int, other: float) -> None:
    assert canonical({"n": one}) == canonical({"n": other}) == b'{"n":%d}' % one


def test_neighbouring_integers_beyond_what_a_double_holds_stay_apart() -> None:
    assert len({key(chat(seed=2**62 + step)) for step in range(4)}) == 4


def test_true_is_not_one() -> None:
    assert key(chat(seed=True)) != key(chat(seed=1))
    assert key(chat(n=True)) != key(chat())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "stream": st.booleans(),
            "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
            "user": st.text(),
            "metadata": st.dictionaries(st.text(), st.text()),
            "store": st.booleans(),
            "service_tier": st.sampled_from(["auto", "flex"]),
            "safety_identifier": st.text(),
            "prompt_cache_key": st.text(),
            "prompt_cache_retention": st.just("24h"),
            "model": st.text(),
            "seed": st.none(),
        },
    ),
    st.sampled_from(ENDPOINTS),
)
def test_who_asks_and_how_it_is_delivered_do_not_matter(more: dict[str, Any], endpoint: str) -> None:
    body = {"model": "m", "messages": ASKED, "input": "x", "prompt": "x"}
    assert key({**body, **more}, endpoint) == key(body, endpoint)


_CHANGES: dict[str, list[Any]] = {
    "messages": [ASKED[1:], [*reversed(ASKED)], [{**ASKED[0], "content": "Be long."}, ASKED[1]]],
    "temperature": [0, 0.5, 1.5],
    "top_p": [0.5],
    "n": [2],
    "seed": [0, 1],
    "stop": ["\n", ["\n", "."]],
    "max_tokens": [1, 16],
    "max_completion_tokens": [16],
    "presence_penalty": [0.5],
    "frequency_penalty": [-0.5],
    "logit_bias": [{"50256": -100}],
    "logprobs": [True],
    "tools": [[WEATHER], [{"type": "function", "function": {**WEATHER["function"], "strict": True}}]],  # type: ignore[dict-item]
    "tool_choice": ["required"],
    "parallel_tool_calls": [False],
    "response_format": [{"type": "json_object"}],
    "reasoning_effort": ["low", "medium", "high"],
    "verbosity": ["low"],
    "modalities": [["text", "audio"]],
    "guided_json": [{}, {"type": "object"}],
    "top_k": [0, 40],
}


def test_whatever_can_change_the_answer_changes_the_key() -> None:
    bodies = [chat(), *(chat(**{name: value}) for name, changes in _CHANGES.items() for value in changes)]
    assert len({key(body) for body in bodies}) == len(bodies)


known = {"model", "stream", "user", "store", "metadata", "n", "tools", "stop", "seed", "messages"}
unknown = st.text(min_size=1, max_size=8).filter(lambda name: name not in known)


@given(unknown, values.filter(lambda value: value is not None))
def test_members_that_nobody_here_knows_matter(name: str, value: Any) -> None:
    assert key(chat(**{name: value})) != key(chat())


@given(st.text(), st.text())
def test_a_changed_question_changes_the_key(one: str, other: str) -> None:
    bodies = [{"messages": [{"role": "user", "content": text}]} for text in (one, other)]
    assert (key(bodies[0]) == key(bodies[1])) == (one == other)


def test_tenant_endpoint_and_model_change_the_key() -> None:
    body = {"input": "x"}
    keys = {
        key(body, EMBEDDINGS),
        key(body, EMBEDDINGS, uuid4()),
        key(body, EMBEDDINGS, model="n"),
        key(body, RESPONSES),
    }
    assert len(keys) == 4
    assert all(each[0] == VERSION and len(each) == 33 for each in keys)


@pytest.mark.parametrize(
    ("endpoint", "body", "defaults"),
    [
        (
            CHAT,
            chat(),
            {"temperature": 1.0, "top_p": 1, "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False,
             "logit_bias": {}, "response_format": {"type": "text"}, "tool_choice": "none", "stop": None,
             "parallel_tool_calls": True, "modalities": ["text"], "verbosity": "medium"},
        ),
        (CHAT, chat(tools=[WEATHER]), {"tool_choice": "auto"}),
        (COMPLETIONS, {"prompt": "x"}, {"max_tokens": 16, "best_of": 1, "n": 1, "echo": False, "temperature": 1}),
        (
            RESPONSES,
            {"input": "x"},
            {"temperature": 1, "truncation": "disabled", "tool_choice": "auto", "tools": [], "background": True,
             "text": {"format": {"type": "text"}, "verbosity": "medium"}, "include": [], "top_logprobs": 0},
        ),
        (EMBEDDINGS, {"input": "x"}, {"encoding_format": "float"}),
        (EMBEDDINGS, {"input": "x"}, {"encoding_format": "base64"}),  # another way to write the same answer
    ],
)  # fmt: skip
def test_a_documented_default_is_the_same_as_nothing(
    endpoint: str, body: dict[str, Any], defaults: dict[str, Any]
) -> None:
    for name, value in defaults.items():
        assert key({**body, name: value}, endpoint) == key(body, endpoint), name
    assert key({**body, **defaults}, endpoint) == key(body, endpoint)


def test_an_encoding_of_embeddings_that_is_another_answer_has_a_key_of_its_own() -> None:
    keys = {
        key({"input": "x", "encoding_format": each}, EMBEDDINGS) for each in ("float", "base64", "int8", "binary", 5)
    }
    assert len(keys) == 4
    # Elsewhere the member means what it may.
    assert key(chat(encoding_format="base64"), CHAT) != key(chat(), CHAT)


def _message(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **more}]}


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    ("endpoint", "one", "other"),
    [
        (CHAT, _message("x"), _message([{"type": "text", "text": "x"}])),
        (CHAT, _message("x"), _message("x", name=None)),
        (CHAT, {**_message("x"), "stop": "a"}, {**_message("x"), "stop": ["a"]}),
        (
            CHAT,
            _message([PICTURE]),
            _message([{"type": "image_url", "image_url": {**PICTURE["image_url"], "detail": "auto"}}]),  # type: ignore[dict-item]
        ),
        (
            CHAT,
            chat(tools=[WEATHER]),
            chat(tools=[{**WEATHER, "function": {**WEATHER["function"], "strict": False}}]),  # type: ignore[dict-item]
        ),
        (RESPONSES, {"input": "x"}, {"input": [{"role": "user", "content": "x"}]}),
        (
            RESPONSES,
            {"input": "x"},
            {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
        ),
        (EMBEDDINGS, {"input": "x"}, {"input": ["x"]}),
        (MODERATIONS, {"input": "x"}, {"input": ["x"]}),
        (COMPLETIONS, {"prompt": "x"}, {"prompt": ["x"]}),
    ],
)
def test_two_spellings_of_one_content_have_one_key(endpoint: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(one, endpoint) == key(other, endpoint)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_message("ab"), _message([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        (_message("x"), _message([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}])),
        (_message("x"), _message(["x"])),
        (_message("x"), _message([7])),
        ({"messages": "x"}, {"messages": ["x"]}),
        ({"tools": "x"}, {"tools": ["x"]}),
    ],
)
def test_odd_bodies_have_keys_of_their_own(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(one) != key(other)


def test_a_body_is_left_as_it_was() -> None:
    body = {
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "text": {"format": {"type": "text"}},
        "temperature": 1.0,
    }
    before = json.dumps(body)
    key(body, RESPONSES)
    partition(body, RESPONSES)
    assert json.dumps(body) == before


@pytest.mark.parametrize("endpoint", [EMBEDDINGS, MODERATIONS, RERANK])
def test_what_is_computed_is_always_cacheable(endpoint: str) -> None:
    assert cacheable(endpoint, {"input": "x", "temperature": 1})


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, COMPLETIONS])
def test_what_is_sampled_is_cacheable_only_at_temperature_zero(endpoint: str) -> None:
    assert cacheable(endpoint, {"temperature": 0})
    assert cacheable(endpoint, {"temperature": 0.0, "n": 1, "tools": [WEATHER]})
    for body in (
        {}, {"temperature": None}, {"temperature": False}, {"temperature": 0.1}, {"temperature": 0, "n": 2},
        {"temperature": 0, "best_of": 3}, {"temperature": 0, "tools": [{"type": "web_search"}]},
        {"temperature": 0, "tools": [WEATHER, "x"]}, {"temperature": 0, "web_search_options": {}},
    ):  # fmt: skip
        assert not cacheable(endpoint, body), body


def test_what_nobody_here_knows_is_not_cacheable() -> None:
    assert not cacheable("/v1/images/generations", {"temperature": 0})


def test_a_request_that_continues_a_conversation_does_not_say_all_it_depends_on() -> None:
    assert not self_contained(RESPONSES, {"input": "x", "conversation": "conv_1"})
    assert not cacheable(RESPONSES, {"input": "x", "conversation": "conv_1", "temperature": 0})
    assert self_contained(RESPONSES, {"input": "x", "previous_response_id": "resp_1"})


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_last_user_text_is_not_part_of_the_partition(one: str, other: str) -> None:
    for first, second in (
        (_message(one), _message(other)),
        (_message(one), _message([{"type": "text", "text": other}])),
        (_message([{"type": "text", "text": one}, PICTURE]), _message([{"type": "text", "text": other}, PICTURE])),
    ):
        assert partition(first) == partition(second)
    assert partition({"input": one}, RESPONSES) == partition({"input": [{"role": "user", "content": other}]}, RESPONSES)


def test_all_but_the_last_user_text_is_part_of_the_partition() -> None:
    picture = _message([{"type": "text", "text": "x"}, PICTURE])
    bodies = [
        chat(),
        *(chat(**{name: value}) for name, changes in _CHANGES.items() if name != "messages" for value in changes),
        chat(messages=[{"role": "system", "content": "Be long."}, ASKED[1]]),
        chat(messages=ASKED[1:]),
        chat(messages=[*ASKED, {"role": "assistant", "content": "A place."}, ASKED[1]]),
        chat(messages=[*ASKED, {"role": "assistant", "content": "A place."}]),
        chat(messages=[ASKED[0], {**ASKED[1], "name": "Ada"}]),
        picture,
        _message([PICTURE, {"type": "text", "text": "x"}]),
        _message([{"type": "text", "text": "x"}, {**PICTURE, "image_url": {"url": "https://example.org/b.png"}}]),
        {},
    ]
    assert len({partition(body) for body in bodies}) == len(bodies)
    assert partition(chat()) != key(chat())


@pytest.mark.parametrize(
    ("endpoint", "body", "text"),
    [
        (CHAT, chat(), "What is a coat check?"),
        (CHAT, _message([{"type": "text", "text": "a"}, PICTURE, {"type": "text", "text": "b"}]), "a\nb"),
        (CHAT, _message([PICTURE]), None),
        (CHAT, _message("  "), None),
        (CHAT, _message(None), None),
        (CHAT, {"messages": [*ASKED, {"role": "assistant", "content": "A"}]}, None),
        (CHAT, {"messages": [*ASKED, {"role": "tool", "content": "A", "tool_call_id": "1"}]}, None),
        (CHAT, {"messages": []}, None),
        (CHAT, {"messages": ["x"]}, None),
        (RESPONSES, {"input": "a"}, "a"),
        (RESPONSES, {"input": " "}, None),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}, "a"),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "1", "output": "a"}]}, None),
        (COMPLETIONS, {"prompt": "a"}, None),
        (EMBEDDINGS, {"input": "a"}, None),
    ],
)
def test_the_last_user_text_is_found_where_a_user_spoke_last(
    endpoint: str, body: dict[str, Any], text: str | None
) -> None:
    assert last_user_text(endpoint, body) == text


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"messages": [{"role": "user", "content": 'x 1.0 \\ " ' * (n // 10)}], "temperature": 1.0},
        lambda n: {"x": ["."] * (n // 4) + [2.0]},
        lambda n: {"x": [[]] * (n // 3) + [1.0]},
        lambda n: {"x": [1.0] * (n // 4)},
        lambda n: {"x": [1e300] * (n // 6)},
        lambda n: {"x": '"\\' * (n // 4) + ".0"},
    ],
)
def test_a_large_body_gets_its_key_at_once(make: Callable[[int], dict[str, Any]]) -> None:
    # Whatever is worse than linear would run into the time limit of the tests.
    assert len(key(make(1_000_000))) == 33
