"""A whole answer told again as a stream: the deltas that an upstream might have sent for it. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]

_CHAT: Final = "/v1/chat/completions"
_COMPLETIONS: Final = "/v1/completions"
_RESPONSES: Final = "/v1/responses"
# A few words at a time: a page that shows text as it comes looks as it does live, and the stream stays small.
_PIECE: Final = re.compile(r".{1,48}(?:\s+|\Z)|.{1,48}", re.DOTALL)
_TOLD_APART: Final = frozenset({"role", "content", "tool_calls"})


def replayed(endpoint: str, answer: Mapping[str, Any]) -> list[Json]:
    """Return the data of the `job.delta` events of a kept answer, in order; none for operations that do not stream.

    Joined, the texts of choice 0 are its whole text. What is more than plain text of choice 0 stands in `choice`, as the
    providers of models tell it: tool calls, other choices, finish reasons; for `/v1/responses` an event.
    """
    if endpoint == _RESPONSES:
        return list(_response(answer))
    if endpoint not in (_CHAT, _COMPLETIONS):
        return []
    deltas: list[Json] = []
    for choice in _dicts(answer.get("choices")):
        index = choice.get("index", 0)
        deltas += _chat_choice(index, choice) if endpoint == _CHAT else _completion_choice(index, choice)
    return deltas


def _chat_choice(index: int, choice: Mapping[str, Any]) -> Iterator[Json]:
    message = choice.get("message") or {}
    more = {name: value for name, value in message.items() if name not in _TOLD_APART and value is not None}
    if more:
        yield _choice(index, more)
    for piece in _pieces(message.get("content")):
        yield {"delta": piece} if index == 0 else _choice(index, {"content": piece})
    for number, call in enumerate(_dicts(message.get("tool_calls"))):
        yield _choice(index, {"tool_calls": [{"index": number, **call}]})
    last: Json = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
    if choice.get("logprobs") is not None:
        last["logprobs"] = choice["logprobs"]
    yield {"delta": "", "choice": last}


def _choice(index: int, delta: Json) -> Json:
    return {"delta": "", "choice": {"index": index, "delta": delta}}


def _completion_choice(index: int, choice: Mapping[str, Any]) -> Iterator[Json]:
    for piece in _pieces(choice.get("text")):
        yield {"delta": piece} if index == 0 else {"delta": "", "choice": {"index": index, "text": piece}}
    last: Json = {"index": index, "text": "", "finish_reason": choice.get("finish_reason")}
    if choice.get("logprobs") is not None:
        last["logprobs"] = choice["logprobs"]
    yield {"delta": "", "choice": last}


def _response(answer: Mapping[str, Any]) -> Iterator[Json]:
    """The text and the arguments of calls as events, and the event that ends the stream."""
    for place, item in enumerate(_dicts(answer.get("output"))):
        named = {"output_index": place, "item_id": item.get("id")}
        for number, part in enumerate(_dicts(item.get("content"))):
            for piece in _pieces(part.get("text")):
                event = {"type": "response.output_text.delta", **named, "content_index": number, "delta": piece}
                yield {"delta": piece, "choice": event}
        if item.get("type") == "function_call":
            event = {"type": "response.function_call_arguments.delta", **named, "delta": item.get("arguments", "")}
            yield {"delta": "", "choice": event}
    ended = "incomplete" if answer.get("status") == "incomplete" else "completed"
    yield {"delta": "", "choice": {"type": f"response.{ended}", "response": dict(answer)}}


def _pieces(text: Any) -> list[str]:
    return _PIECE.findall(text) if isinstance(text, str) else []


def _dicts(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
