from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.assembly import assembler_for
from workers.providers.protocol import Delta, ProviderError

CHAT = "/v1/chat/completions"


def chunk(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": None, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]}


def assembled(*events: dict[str, Any], endpoint: str = CHAT, ended: bool = True) -> tuple[dict[str, Any], list[Delta]]:
    assembler = assembler_for(endpoint, 10_000, None)
    deltas = [delta for event in events if (delta := assembler.take(event)) is not None]
    return assembler.body(ended=ended), deltas


def test_text_is_joined_and_plain_pieces_carry_no_raw_choice() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    body, deltas = assembled(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, finish_reason="stop"),
        {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": usage},
    )
    assert body == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "usage": usage,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
            }
        ],
    }
    assert deltas[:2] == [Delta("Hel", None), Delta("lo", None)]
    assert deltas[2].text == "" and deltas[2].choice is not None


def test_tool_calls_are_joined_by_their_index() -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, "function": function}

    body, deltas = assembled(
        chunk(
            {"role": "assistant", "tool_calls": [{**call(0, name="f", arguments=""), "id": "a", "type": "function"}]}
        ),
        chunk({"tool_calls": [call(0, arguments='{"x"')]}),
        chunk({"tool_calls": [{**call(1, name="g", arguments="{"), "id": "b"}, call(0, arguments=":1}")]}),
        chunk({"tool_calls": [call(1, arguments="}")]}),
        chunk({}, finish_reason="tool_calls"),
    )
    message = body["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert all(delta.choice is not None and delta.text == "" for delta in deltas)


def test_choices_refusals_reasoning_and_log_probabilities_are_kept() -> None:
    body, deltas = assembled(
        chunk({"content": "A"}, logprobs={"content": [{"token": "A"}]}),
        chunk({"content": "B"}, 1),
        chunk({"reasoning_content": "because "}, 2),
        chunk({"reasoning_content": "so"}, 2),
        chunk({"refusal": "no"}, 3),
        chunk({"content": "a"}, logprobs={"content": [{"token": "a"}]}),
        *(chunk({}, index, finish_reason="stop") for index in (3, 0, 1, 2)),
    )
    choices = body["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["Aa", "B", "", None]
    assert choices[0]["logprobs"] == {"content": [{"token": "A"}, {"token": "a"}]}
    assert choices[2]["message"]["reasoning_content"] == "because so"
    assert choices[3]["message"]["refusal"] == "no"
    # Only choice 0 is the plain text that listeners show.
    assert "".join(delta.text for delta in deltas) == "Aa"


def test_a_completion_stream_becomes_a_text_completion() -> None:
    head = {"id": "x", "object": "text_completion", "model": "m"}
    body, deltas = assembled(
        {**head, "choices": [{"index": 0, "text": "a", "finish_reason": None, "logprobs": None}]},
        {**head, "choices": [{"index": 0, "text": "b", "finish_reason": "length", "logprobs": None}]},
        endpoint="/v1/completions",
    )
    assert body["choices"] == [{"index": 0, "text": "ab", "finish_reason": "length", "logprobs": None}]
    assert [delta.text for delta in deltas] == ["a", "b"]


def test_a_response_stream_gives_the_body_of_its_last_event() -> None:
    done = {"id": "resp_1", "output": []}
    body, deltas = assembled(
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_text.delta", "delta": "x"},
        {"type": "response.completed", "response": done},
        endpoint="/v1/responses",
    )
    assert body == done
    assert [delta.text for delta in deltas] == ["", "x", ""]


@pytest.mark.parametrize("event", [{"type": "error", "message": "x"}, {"type": "response.failed", "response": {}}])
def test_a_response_that_fails_is_an_error(event: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        assembled(event, endpoint="/v1/responses")
    assert caught.value.code == "upstream_error"


def test_a_stream_that_broke_off_is_a_bad_reply_unless_its_choices_had_finished() -> None:
    with pytest.raises(ProviderError, match="broke off"):
        assembled(chunk({"content": "a"}), ended=False)
    with pytest.raises(ProviderError, match="broke off"):
        assembled(endpoint="/v1/responses")
    with pytest.raises(ProviderError, match="without an answer"):
        assembled()
    body, _ = assembled(chunk({"content": "a"}, finish_reason="stop"), ended=False)
    assert body["choices"][0]["message"]["content"] == "a"


def test_an_error_in_the_middle_ends_the_stream() -> None:
    with pytest.raises(ProviderError, match="overloaded"):
        assembled(chunk({"content": "a"}), {"error": {"message": "overloaded"}})


@pytest.mark.parametrize(
    "event",
    [
        {"choices": {"a": 1}},
        {"choices": ["x"]},
        {"choices": [{"index": "0"}]},
        chunk({"tool_calls": ["x"]}),
        chunk({"tool_calls": [{"index": None}]}),
    ],
)
def test_a_chunk_of_the_wrong_shape_is_a_bad_reply(event: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        assembled(event)
    assert caught.value.code == "bad_reply"


def test_an_endless_answer_is_cut_off() -> None:
    with pytest.raises(ProviderError) as caught:
        assembled(*(chunk({"content": "x" * 1000}) for _ in range(11)))
    assert caught.value.code == "reply_too_large"


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.lists(st.integers(0, 200), max_size=20))
def test_text_is_the_same_however_it_was_cut(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    body, deltas = assembled(*(chunk({"content": piece}) for piece in pieces))
    assert body["choices"][0]["message"]["content"] == text
    assert "".join(delta.text for delta in deltas) == text
