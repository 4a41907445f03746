"""A conversation in OpenAI's shape as Anthropic's: the system prompt apart, turns of blocks, tool results inside user turns."""

import re
from typing import Any

import orjson

from workers.providers.protocol import ProviderError

Json = dict[str, Any]

_IMAGES = {"image/jpeg": "image/jpeg", "image/jpg": "image/jpeg"} | {
    kind: kind for kind in ("image/png", "image/gif", "image/webp")
}
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,")
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


def invalid(message: str) -> ProviderError:
    """A request that this API can't express."""
    return ProviderError("invalid_request", message, retryable=False)


def conversation(messages: Any) -> tuple[list[Json], list[Json]]:
    """Split OpenAI messages into (blocks of the system prompt, turns). Raises ProviderError `invalid_request`.

    System messages from anywhere go to the front, since only the newest models take them between turns. Neighbours of one
    role become one turn: the results of parallel tool calls have to arrive together.
    """
    if not isinstance(messages, list):
        raise invalid("messages must be a list")
    system: list[Json] = []
    turns: list[Json] = []
    for message in messages:
        if not isinstance(message, dict):
            raise invalid("every message must be an object")
        role = message.get("role")
        if role in ("system", "developer"):
            system += _parts(message.get("content"), "system")
            continue
        speaker, blocks = _turn(role, message)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": speaker, "content": blocks})
    if not turns:
        raise invalid("messages must hold something besides the system prompt")
    _end_cleanly(turns)
    return system, turns


def _turn(role: Any, message: Json) -> tuple[str, list[Json]]:
    match role:
        case "user":
            return "user", _parts(message.get("content"), "user")
        case "assistant":
            return "assistant", _said(message)
        case "tool":
            return "user", [_tool_result(message)]
    raise invalid(f"messages of the role {str(role)[:40]!r} have no counterpart in Anthropic's API")


def _said(message: Json) -> list[Json]:
    """What the assistant said, in its order: reasoning, text, tool calls."""
    blocks: list[Json] = []
    thoughts = message.get("thinking_blocks")
    if isinstance(thoughts, list):
        # They are signed: models that think between tool calls want their own thoughts back, exactly as they were.
        kinds = ("thinking", "redacted_thinking")
        blocks += [thought for thought in thoughts if isinstance(thought, dict) and thought.get("type") in kinds]
    blocks += _parts(message.get("content"), "assistant")
    if isinstance(refusal := message.get("refusal"), str) and refusal and not message.get("content"):
        blocks.append({"type": "text", "text": refusal})
    for call in message.get("tool_calls") or ():
        blocks.append(_tool_use(call))
    return blocks


def _tool_use(call: Any) -> Json:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid("a tool call must name a function")
    return {
        "type": "tool_use",
        "id": _tool_id(call.get("id")),
        "name": function["name"],
        "input": _arguments(function.get("arguments")),
    }


def _arguments(text: Any) -> Json:
    if text is None or text == "":
        return {}
    try:
        value = orjson.loads(text) if isinstance(text, str) else text
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise invalid("the arguments of a tool call must be a JSON object")
    return value


def _tool_result(message: Json) -> Json:
    content = _parts(message.get("content"), "tool")
    return {"type": "tool_result", "tool_use_id": _tool_id(message.get("tool_call_id")), "content": content}


def _tool_id(given: Any) -> str:
    """Other models' ids may hold signs that Anthropic refuses; a conversation may have begun with another model."""
    if not isinstance(given, str) or not given:
        raise invalid("a tool call and its result need an id")
    return _NOT_IN_IDS.sub("_", given)


def _parts(content: Any, role: str) -> list[Json]:
    """The blocks of a message's content; text of nothing but white space, which Anthropic refuses, is left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if not isinstance(content, list):
        raise invalid("a message's content must be a string or a list of parts")
    blocks = []
    for part in content:
        block = _part(part, role)
        if block is not None:
            if isinstance(part.get("cache_control"), dict):
                block["cache_control"] = part["cache_control"]
            blocks.append(block)
    return blocks


def _part(part: Any, role: str) -> Json | None:
    if not isinstance(part, dict):
        raise invalid("every part of a message's content must be an object")
    kind = part.get("type")
    text = part.get("refusal") if kind == "refusal" else part.get("text")
    if kind in ("text", "input_text", "refusal") and isinstance(text, str):
        return {"type": "text", "text": text} if text.strip() else None
    if kind == "image_url" and role in ("user", "tool"):
        return _image(part.get("image_url"))
    if kind == "file" and role in ("user", "tool"):
        return _document(part.get("file"))
    raise invalid(f"parts of the type {str(kind)[:40]!r} can't be sent to Anthropic's API in a {role} message")


def _image(given: Any) -> Json:
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise invalid("an image needs a url")
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head = _DATA_URL.match(url)
    media_type = _IMAGES.get(head.group(1).lower()) if head else None
    if head is None or media_type is None:
        raise invalid("an image must be a web address or a base64 data URL of a JPEG, PNG, GIF or WebP")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": url[head.end() :]}}


def _document(given: Any) -> Json:
    data = given.get("file_data") if isinstance(given, dict) else None
    head = _DATA_URL.match(data) if isinstance(data, str) else None
    if not isinstance(data, str) or head is None or head.group(1).lower() != "application/pdf":
        raise invalid("a file must come along as `file_data`, a base64 data URL of a PDF")
    source = {"type": "base64", "media_type": "application/pdf", "data": data[head.end() :]}
    document: Json = {"type": "document", "source": source}
    if isinstance(name := given.get("filename"), str) and name:
        document["title"] = name
    return document


def _end_cleanly(turns: list[Json]) -> None:
    """A beginning that is put into the assistant's mouth may not end with white space."""
    last = turns[-1]
    block = last["content"][-1]
    if last["role"] == "assistant" and block["type"] == "text":
        last["content"][-1] = {**block, "text": block["text"].rstrip()}
