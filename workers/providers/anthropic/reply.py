"""A message of the Messages API as an OpenAI chat completion."""

import time
from collections.abc import Sequence
from typing import Any, Final

import orjson

from workers.providers.anthropic.messages import Json
from workers.providers.errors import in_band
from workers.providers.reading import bad_reply

RAW_INPUT: Final = "raw_input"
"""Member of a `tool_use` block that was streamed: its input as it came, which may have been cut off before its end."""

# OpenAI knows four ways to end. `pause_turn` and a full context window are answers that were cut off; the upstream's own word
# stands beside it as `native_finish_reason`.
_FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: Any) -> str:
    """OpenAI's word for a `stop_reason`; one that is not known yet is an ordinary end."""
    return _FINISH_REASONS.get(stop_reason, "stop")


def chat_completion(message: Any, ignored: Sequence[str], secret: str | None) -> Json:
    """Translate a whole message. Raises ProviderError if it is none.

    Args:
        message: the parsed body, or what a stream was put together to.
        ignored: names of parameters that were not sent.
        secret: the key, which must not appear in an error's message.
    """
    if isinstance(message, dict) and message.get("type") == "error":
        raise in_band(message.get("error"), secret)
    if not isinstance(message, dict) or message.get("type") != "message":
        raise bad_reply("the reply is not a message")
    blocks = message.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise bad_reply("the reply has no list of content blocks")
    body: Json = {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": message.get("model"),
        "choices": [_choice(message, blocks)],
    }
    if isinstance(usage := message.get("usage"), dict):
        body["usage"] = _usage(usage)
        if isinstance(tier := usage.get("service_tier"), str):
            body["service_tier"] = tier
    if ignored:
        body["ignored_parameters"] = list(ignored)
    return body


def _choice(message: Json, blocks: list[Json]) -> Json:
    texts = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    thoughts = [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    said: Json = {"role": "assistant", "content": "".join(texts) if texts or not calls else None, "refusal": None}
    if calls:
        said["tool_calls"] = calls
    if thoughts:
        said["reasoning_content"] = "".join(str(thought.get("thinking") or "") for thought in thoughts)
        said["thinking_blocks"] = thoughts  # to be sent back as they are with the results of tools
    reason = message.get("stop_reason")
    details = message.get("stop_details")
    if reason == "refusal" and isinstance(details, dict) and isinstance(details.get("explanation"), str):
        said["refusal"] = details["explanation"]
    choice: Json = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_reason(reason)}
    choice["native_finish_reason"] = reason
    if message.get("stop_sequence") is not None:
        choice["stop_sequence"] = message["stop_sequence"]
    return choice


def _tool_call(block: Json) -> Json:
    if not isinstance(block.get("name"), str) or not isinstance(block.get("id"), str):
        raise bad_reply("the reply calls a tool without its name or id")
    arguments = block.get(RAW_INPUT)
    if arguments is None:
        arguments = orjson.dumps(block.get("input") or {}).decode()
    return {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": arguments}}


def _usage(usage: Json) -> Json:
    """Anthropic counts input that came from the cache, or went into it, apart; OpenAI counts it in."""
    fresh, read, written = (
        _count(usage.get(name)) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    made = _count(usage.get("output_tokens"))
    given = fresh + read + written
    found: Json = {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    details = usage.get("output_tokens_details")
    if isinstance(details, dict):
        found["completion_tokens_details"] = {"reasoning_tokens": _count(details.get("thinking_tokens"))}
    return found


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
