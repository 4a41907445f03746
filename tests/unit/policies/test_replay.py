"""A kept answer told as a stream."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policies.replay import replayed

CHAT = "/v1/chat/completions"


def chat(*messages: dict[str, Any], reason: str = "stop") -> dict[str, Any]:
    return {
        "choices": [
            {"index": index, "finish_reason": reason, "message": {"role": "assistant", **message}}
            for index, message in enumerate(messages)
        ]
    }


@given(st.text())
def test_the_pieces_of_a_chat_join_to_its_text(text: str) -> None:
    deltas = replayed(CHAT, chat({"content": text}))
    assert "".join(delta["delta"] for delta in deltas) == text
    assert deltas[-1]["choice"] == {"index": 0, "delta": {}, "finish_reason": "stop"}


@given(st.text())
def test_the_pieces_of_a_completion_join_to_its_text(text: str) -> None:
    answer = {"choices": [{"index": 0, "text": text, "finish_reason": "length"}]}
    deltas = replayed("/v1/completions", answer)
    assert "".join(delta["delta"] for delta in deltas) == text
    assert deltas[-1]["choice"]["finish_reason"] == "length"


@given(st.text())
def test_the_pieces_of_a_response_join_to_its_text_and_its_end_tells_all(text: str) -> None:
    answer = {
        "status": "completed",
        "output": [{"id": "m", "type": "message", "content": [{"type": "output_text", "text": text}]}],
    }
    deltas = replayed("/v1/responses", answer)
    assert "".join(delta["delta"] for delta in deltas) == text
    assert deltas[-1]["choice"] == {"type": "response.completed", "response": answer}


def test_other_choices_and_tool_calls_are_told_as_choices() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    deltas = replayed(CHAT, chat({"content": None, "tool_calls": [call]}, {"content": "two"}, reason="tool_calls"))
    assert deltas[0] == {"delta": "", "choice": {"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}}
    assert {"delta": "", "choice": {"index": 1, "delta": {"content": "two"}}} in deltas


def test_reasoning_comes_before_the_answer() -> None:
    deltas = replayed(CHAT, chat({"content": "yes", "reasoning_content": "hm"}))
    assert deltas[0]["choice"]["delta"] == {"reasoning_content": "hm"}
    assert deltas[1] == {"delta": "yes"}


def test_what_does_not_stream_has_no_deltas() -> None:
    assert replayed("/v1/embeddings", {"data": [{}]}) == []
