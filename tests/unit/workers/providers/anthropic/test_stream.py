from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.anthropic.reply import chat_completion
from workers.providers.anthropic.stream import MessageAssembler
from workers.providers.protocol import Delta, ProviderError

START = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "model": "m", "content": []}}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def followed(events: list[dict[str, Any]], limit: int = 10_000) -> tuple[dict[str, Any], list[Delta]]:
    assembler = MessageAssembler(limit, None)
    deltas = [delta for event in events if (delta := assembler.take(event)) is not None]
    return chat_completion(assembler.body(ended=False), (), None)["choices"][0], deltas


@given(st.lists(st.text(max_size=10), max_size=8), st.lists(st.text(max_size=10), max_size=8))
def test_pieces_join_to_the_whole_however_they_are_cut(texts: list[str], thoughts: list[str]) -> None:
    thinking = block(
        0, {"type": "thinking", "thinking": ""}, *({"type": "thinking_delta", "thinking": text} for text in thoughts)
    )
    text = block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts))
    choice, deltas = followed([START, *thinking, {"type": "ping"}, *text, STOP])
    assert choice["message"]["content"] == "".join(texts) == "".join(delta.text for delta in deltas)
    assert choice["message"]["reasoning_content"] == "".join(thoughts)
    assert choice["finish_reason"] == "stop"


def test_events_and_blocks_that_are_not_known_yet_do_no_harm() -> None:
    search = block(0, {"type": "server_tool_use", "name": "web"}, {"type": "input_json_delta", "partial_json": "{}"})
    strange = [{"type": "message_sparkle"}, *block(1, {"type": "hologram"}, {"type": "hologram_delta", "x": 1})]
    text = block(2, {"type": "text", "text": "So"}, {"type": "text_delta", "text": "!"}, {"type": "citations_delta"})
    choice, deltas = followed([START, *search, *strange, *text, STOP])
    assert choice["message"]["content"] == "So!" == "".join(delta.text for delta in deltas)
    assert "tool_calls" not in choice["message"]


def test_blocks_may_be_interleaved() -> None:
    one = block(
        0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "a"}, {"type": "text_delta", "text": "b"}
    )
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    two = block(1, tool, {"type": "input_json_delta", "partial_json": '{"x":1}'})
    mixed = [one[0], two[0], one[1], two[1], one[2], two[2], one[3]]
    choice, _ = followed([START, *mixed, STOP])
    assert choice["message"]["content"] == "ab"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "without an answer"),
        ([START], "broke off"),
        ([START, *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "x"})], "broke off"),
        ([{"type": "message_start"}], "without its message"),
        ([START, {"type": "content_block_start", "index": 0}], "no beginning"),
        ([START, {"type": "content_block_start", "index": "0", "content_block": {}}], "no usable index"),
        (
            [START, {"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "x"}}],
            "no block",
        ),
    ],
)
def test_a_stream_that_makes_no_sense_is_a_bad_reply(events: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        followed(events)
    assert (caught.value.code, caught.value.retryable) == ("bad_reply", True)


def test_an_answer_beyond_the_limit_is_cut_off() -> None:
    with pytest.raises(ProviderError) as caught:
        followed([START, *block(0, {"type": "text"}, {"type": "text_delta", "text": "x" * 11})], limit=10)
    assert caught.value.code == "reply_too_large"
