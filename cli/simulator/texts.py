"""Text answers: whole bodies and streamed events of chat completions, completions and responses."""

from dataclasses import dataclass
from typing import Any

import orjson

from cli.simulator.answers import Asked, Json, text_usage, words

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Events:
    """A streamed answer. Each of `timed` is sent one token time after the last; `tail` goes out with the last of them."""

    timed: list[bytes]
    tail: bytes


def chat(asked: Asked) -> Json:
    """A `chat.completion`."""
    count = int(asked.body.get("n") or 1)
    choices, spent = [], 0
    for index in range(count):
        message, finish, tokens = _message(asked, index)
        spent += len(tokens)
        choices.append(
            {"index": index, "message": message, "logprobs": _logprobs(asked, tokens), "finish_reason": finish}
        )
    return {**_head(asked, "chat.completion"), "choices": choices, "usage": text_usage(asked, spent)}


def _message(asked: Asked, index: int) -> tuple[Json, str, list[str]]:
    sim = asked.sim
    message: Json = {"role": "assistant", "content": None}
    if calls := sim.get("tool_calls"):
        message["tool_calls"] = [
            _tool_call(number, call, call.get("arguments", "{}")) for number, call in enumerate(calls)
        ]
        return message, sim.get("finish_reason", "tool_calls"), ["[sim]"]
    if refusal := sim.get("refusal"):
        message["refusal"] = f"[sim] {refusal}"
        return message, sim.get("finish_reason", "stop"), ["[sim]"]
    tokens = words(asked, index)
    if reasoning := sim.get("reasoning"):
        message["reasoning_content"] = f"[sim] {reasoning}"
    message["content"] = "".join(tokens)
    return message, sim.get("finish_reason", _finish(asked, tokens)), tokens


def _finish(asked: Asked, tokens: list[str]) -> str:
    limit = asked.body.get("max_tokens") or asked.body.get("max_completion_tokens")
    return "length" if limit and len(tokens) >= int(limit) else "stop"


def _tool_call(number: int, call: Json, arguments: str) -> Json:
    return {"id": f"call_sim_{number}", "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def _logprobs(asked: Asked, tokens: list[str]) -> Json | None:
    if not asked.body.get("logprobs"):
        return None
    return {"content": [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in tokens]}


def _head(asked: Asked, kind: str) -> Json:
    return {"id": f"{'cmpl' if kind == 'text_completion' else 'chatcmpl'}-sim-{asked.number}", "object": kind,
            "created": asked.created, "model": asked.model}  # fmt: skip


def chat_events(asked: Asked) -> Events:
    """A stream of `chat.completion.chunk`."""
    lead, trail = _template(_head(asked, "chat.completion.chunk"))
    timed: list[bytes] = []
    finish: list[bytes] = []
    spent = 0
    for index in range(int(asked.body.get("n") or 1)):
        message, reason, tokens = _message(asked, index)
        spent += len(tokens)
        deltas = _deltas(message, tokens)
        for position, delta in enumerate(deltas):
            choice = {"index": index, "delta": delta, "finish_reason": None}
            if asked.body.get("logprobs"):
                choice["logprobs"] = _logprobs(asked, tokens[position : position + 1])
            timed.append(lead + orjson.dumps(choice) + trail)
        finish.append(lead + orjson.dumps({"index": index, "delta": {}, "finish_reason": reason}) + trail)
    return Events(timed, b"".join(finish) + _usage_event(asked, "chat.completion.chunk", spent) + _DONE)


def _deltas(message: Json, tokens: list[str]) -> list[Json]:
    first: Json = {"role": "assistant"}
    if calls := message.get("tool_calls"):
        deltas: list[Json] = []
        for number, call in enumerate(calls):
            function = call["function"]
            text = function["arguments"]
            start = {"index": number, **call, "function": {"name": function["name"], "arguments": ""}}
            pieces = [{"index": number, "function": {"arguments": text[i : i + 5]}} for i in range(0, len(text), 5)]
            deltas += [{"tool_calls": [piece]} for piece in (start, *pieces)]
        deltas[0] = first | deltas[0]
        return deltas
    if refusal := message.get("refusal"):
        return [first | {"refusal": refusal[:6]}, {"refusal": refusal[6:]}]
    deltas = [{"content": token} for token in tokens]
    if reasoning := message.get("reasoning_content"):
        deltas.insert(0, {"reasoning_content": reasoning})
    deltas[0] = first | deltas[0]
    return deltas


def _template(head: Json) -> tuple[bytes, bytes]:
    return b"data: " + orjson.dumps(head)[:-1] + b',"choices":[', b"]}\n\n"


def _usage_event(asked: Asked, kind: str, spent: int) -> bytes:
    options = asked.body.get("stream_options")
    if not (isinstance(options, dict) and options.get("include_usage")):
        return b""
    return b"data: " + orjson.dumps({**_head(asked, kind), "choices": [], "usage": text_usage(asked, spent)}) + b"\n\n"


def completion(asked: Asked) -> Json:
    """A `text_completion`; a list of prompts gives one choice for each."""
    choices, spent = [], 0
    for index, one in enumerate(_prompts(asked)):
        tokens = words(one)
        spent += len(tokens)
        choices.append(
            {"index": index, "text": "".join(tokens), "logprobs": None, "finish_reason": _finish(asked, tokens)}
        )
    return {**_head(asked, "text_completion"), "choices": choices, "usage": text_usage(asked, spent)}


def _prompts(asked: Asked) -> list[Asked]:
    prompt = asked.body.get("prompt")
    prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
    rest = (asked.sim, asked.model, asked.number, asked.created, asked.tokens, asked.seed)
    return [Asked(asked.endpoint, {"prompt": one}, *rest) for one in prompts]


def completion_events(asked: Asked) -> Events:
    """A stream of `text_completion` chunks."""
    lead, trail = _template(_head(asked, "text_completion"))
    timed, finish, spent = [], [], 0
    for index, one in enumerate(_prompts(asked)):
        tokens = words(one)
        spent += len(tokens)
        for token in tokens:
            choice = {"index": index, "text": token, "logprobs": None, "finish_reason": None}
            timed.append(lead + orjson.dumps(choice) + trail)
        last = {"index": index, "text": "", "logprobs": None, "finish_reason": _finish(asked, tokens)}
        finish.append(lead + orjson.dumps(last) + trail)
    return Events(timed, b"".join(finish) + _usage_event(asked, "text_completion", spent) + _DONE)


def response(asked: Asked, tokens: list[str] | None = None, status: str = "completed") -> Json:
    """A Responses API object."""
    tokens = words(asked) if tokens is None else tokens
    usage = text_usage(asked, len(tokens))
    part = {"type": "output_text", "text": "".join(tokens), "annotations": []}
    item = {
        "type": "message",
        "id": f"msg_sim_{asked.number}",
        "status": status,
        "role": "assistant",
        "content": [part],
    }
    return {
        "id": f"resp_sim_{asked.number}", "object": "response", "created_at": asked.created, "status": status,
        "error": None, "incomplete_details": None, "model": asked.model, "output": [item] if tokens else [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": None if status != "completed" else {
            "input_tokens": usage["prompt_tokens"], "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"], "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }  # fmt: skip


def response_events(asked: Asked) -> Events:
    """The events of a response with one text: its parts are opened, filled token by token, and closed."""
    tokens = words(asked)
    text = "".join(tokens)
    (item,) = response(asked, tokens)["output"]
    empty = {**item, "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    steps: list[tuple[str, Json]] = [
        ("response.created", {"response": response(asked, [], "in_progress")}),
        ("response.in_progress", {"response": response(asked, [], "in_progress")}),
        ("response.output_item.added", {"output_index": 0, "item": empty}),
        ("response.content_part.added", {**place, "part": part}),
        *(("response.output_text.delta", {**place, "delta": token, "logprobs": []}) for token in tokens),
        ("response.output_text.done", {**place, "text": text, "logprobs": []}),
        ("response.content_part.done", {**place, "part": {**part, "text": text}}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": response(asked, tokens)}),
    ]
    events = [_typed(kind, number, data) for number, (kind, data) in enumerate(steps)]
    opening, closing = 5, len(events) - 4
    return Events([b"".join(events[:opening]), *events[opening:closing]], b"".join(events[closing:]))


def _typed(kind: str, number: int, data: dict[str, Any]) -> bytes:
    payload = orjson.dumps({"type": kind, "sequence_number": number, **data})
    return b"event: " + kind.encode() + b"\ndata: " + payload + b"\n\n"
