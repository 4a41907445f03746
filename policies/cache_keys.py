"""Under which key an answer is kept, and which answers may be kept at all. Pure.

A key is a hash of tenant, endpoint, requested model (or route class) and the canonical form of every member of the request that
can change the answer. What is not known here counts: a member that some upstream understands costs a hit, never a wrong answer.

What makes no difference: the order of members, how a number is spelled (1, 1.0, 1e0), null for a member left out, who asks and
how it is delivered (`stream`, `user`, `metadata`, …), a default that OpenAI documents, two spellings of one content (a text,
or a list with that one text), and how embeddings are written (`policies.encodings` turns one way into the other).

The work is linear in the request and rides on the C encoder: text is never walked through sign by sign.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

Json = dict[str, Any]

#: The first byte of every key. Raise it when the canonical form changes: entries kept before are then met no more.
VERSION: Final = 2

_CHAT: Final = "/v1/chat/completions"
_RESPONSES: Final = "/v1/responses"
_COMPLETIONS: Final = "/v1/completions"
_SAMPLED: Final = frozenset({_CHAT, _RESPONSES, _COMPLETIONS})
# The same request has the same answer, whatever it says of temperatures.
_COMPUTED: Final = frozenset({"/v1/embeddings", "/v1/moderations", "/v1/rerank"})

# Who asks, how the answer travels and what is filed about it. The model is hashed by itself, as the caller of a key names it.
_IRRELEVANT: Final = frozenset(
    {
        "model", "stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier",
        "prompt_cache_key", "prompt_cache_retention",
    }
)  # fmt: skip
_SAMPLING: Final[Json] = {"temperature": 1, "top_p": 1}
_PENALTIES: Final[Json] = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}}
_DEFAULTS: Final[Mapping[str, Json]] = {
    _CHAT: {
        **_SAMPLING,
        **_PENALTIES,
        "logprobs": False,
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "response_format": {"type": "text"},
        "verbosity": "medium",
    },
    _COMPLETIONS: {**_SAMPLING, **_PENALTIES, "best_of": 1, "echo": False, "max_tokens": 16},
    _RESPONSES: {
        **_SAMPLING,
        "include": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "truncation": "disabled",
    },
}
# Tools that run where the caller is: their definition is all there is to them. Others look at a world that changes.
_OWN_TOOLS: Final = frozenset({"function", "custom"})
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})

# A text, which is passed over, or a number that has another spelling. Not with possessive quantifiers: Python 3.11.2 and 3.11.3
# get groups inside them wrong. What `json.dumps` wrote needs none, because every text is closed.
_RESPELLED: Final = re.compile(r""""[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.0(?=[,\]}]|$)|(?:\.\d+)?e\+\d+)""", re.DOTALL)
_MOST_ZEROS: Final = 22


def exact_key(*, tenant: UUID, endpoint: str, model: str, body: Mapping[str, Any]) -> bytes:
    """Return the key, 33 bytes, under which the answer to this request is kept.

    Args:
        tenant: whose request it is; nothing crosses tenants.
        endpoint: such as `/v1/chat/completions`.
        model: the model, alias or route class that was asked for; the body's own `model` is not looked at.
        body: the request.
    """
    return _key(b"exact", tenant, endpoint, model, _relevant(endpoint, body))


def semantic_partition(*, tenant: UUID, endpoint: str, model: str, body: Mapping[str, Any]) -> bytes:
    """Return what requests have in common, 33 bytes, whose last user messages may be compared.

    Everything that `exact_key` looks at but the text of the last user message: system prompt, tools, earlier turns, pictures
    beside the text, parameters. Meant for requests with a `last_user_text`.
    """
    relevant = _relevant(endpoint, body)
    member = _TURNS.get(endpoint, "")
    turns = relevant.get(member)
    if isinstance(turns, list) and turns and _is_users(turns[-1]):
        relevant[member] = [*turns[:-1], {**turns[-1], "content": _without_text(turns[-1].get("content"))}]
    return _key(b"semantic", tenant, endpoint, model, relevant)


def last_user_text(endpoint: str, body: Mapping[str, Any]) -> str | None:
    """Return the text of the last message if a user wrote it; None for other requests.

    A plain completion has none: instructions, examples and question are one text there.
    """
    turns = body.get(_TURNS.get(endpoint, ""))
    if isinstance(turns, str):
        return turns if turns.strip() else None
    if not isinstance(turns, list) or not turns or not _is_users(turns[-1]):
        return None
    content = turns[-1].get("content")
    texts = [content] if isinstance(content, str) else [_text_of(part) for part in content or ()]
    text = "\n".join(text for text in texts if text is not None)
    return text if text.strip() else None


def cacheable(endpoint: str, body: Mapping[str, Any]) -> bool:
    """Tell whether an answer may be kept and given again although nobody said so.

    Not where it is meant to vary: at a temperature above 0 (also by default), with several choices, or with tools that the
    upstream runs by itself. The caller or the catalog may still ask for it, as long as the request is `self_contained`.
    """
    if endpoint in _COMPUTED:
        return True
    if endpoint not in _SAMPLED or not self_contained(endpoint, body):
        return False
    temperature = body.get("temperature")
    if isinstance(temperature, bool) or temperature != 0:
        return False
    if any(body.get(name) not in (None, 1) for name in ("n", "best_of")):
        return False
    tools = body.get("tools")
    foreign = isinstance(tools, list) and any(
        not isinstance(tool, Mapping) or tool.get("type") not in _OWN_TOOLS for tool in tools
    )
    return not foreign and body.get("web_search_options") is None


def self_contained(endpoint: str, body: Mapping[str, Any]) -> bool:
    """Tell whether the request says all that its answer depends on. One that does not must never be answered from a cache.

    A `conversation` has other contents every time; a `previous_response_id` names one that never changes.
    """
    return not (endpoint == _RESPONSES and body.get("conversation") is not None)


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values: members sorted, one spelling for every number below 10^22."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)
    if ".0" in text or "e+" in text:
        text = _RESPELLED.sub(_respelled, text)
    return text.encode("utf-8", "surrogatepass")


def _respelled(match: re.Match[str]) -> str:
    number = match[0]
    if number[0] == '"':
        return number
    if "e" not in number:
        whole = number.removesuffix(".0")
        return "0" if whole == "-0" else whole
    # A larger one would become megabytes of digits, and no integer of 64 bits is equal to it.
    return number if int(number.partition("e+")[2]) > _MOST_ZEROS else str(int(float(number)))


def _key(kind: bytes, tenant: UUID, endpoint: str, model: str, relevant: Json) -> bytes:
    hasher = hashlib.blake2b(digest_size=32, person=kind + b"/%d" % VERSION)
    for part in (tenant.bytes, endpoint.encode(), model.encode("utf-8", "surrogatepass"), canonical(relevant)):
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return bytes([VERSION]) + hasher.digest()


def _relevant(endpoint: str, body: Mapping[str, Any]) -> Json:
    """The members that can change the answer, in one of their spellings. The body itself stays as it is."""
    relevant = {name: value for name, value in body.items() if value is not None and name not in _IRRELEVANT}
    shape = _SHAPES.get(endpoint)
    if shape is not None:
        shape(relevant)
    for name, default in _DEFAULTS.get(endpoint, {}).items():
        if name in relevant and _equal(relevant[name], default):
            del relevant[name]
    return relevant


def _equal(value: Any, default: Any) -> bool:
    # Python takes True for 1; JSON does not.
    return isinstance(value, bool) is isinstance(default, bool) and bool(value == default)


def _list_up(relevant: Json) -> None:
    """One text and a list with that one text mean the same."""
    for name in ("input", "prompt", "stop"):
        if isinstance(relevant.get(name), str):
            relevant[name] = [relevant[name]]


def _shape_chat(relevant: Json) -> None:
    _list_up(relevant)
    if relevant.get("tool_choice") == ("auto" if relevant.get("tools") else "none"):
        del relevant["tool_choice"]
    for name, shape in (("messages", _message), ("tools", _tool)):
        if isinstance(relevant.get(name), list):
            relevant[name] = [shape(each) for each in relevant[name]]


def _shape_responses(relevant: Json) -> None:
    asked = relevant.get("input")
    if isinstance(asked, str):
        relevant["input"] = [{"role": "user", "content": asked}]
    elif isinstance(asked, list):
        relevant["input"] = [_item(each) for each in asked]
    text = relevant.get("text")
    if isinstance(text, dict):
        told = {name: value for name, value in text.items() if value is not None}
        plain = {"format": {"type": "text"}, "verbosity": "medium"}
        relevant["text"] = {name: value for name, value in told.items() if value != plain.get(name)}
        if not relevant["text"]:
            del relevant["text"]
    # Waited for or not, the answer is the same.
    relevant.pop("background", None)


def _shape_embeddings(relevant: Json) -> None:
    _list_up(relevant)
    # Numbers or base64 of them: whoever answers from what was kept tells it as it was asked for.
    if relevant.get("encoding_format") in ("float", "base64"):
        del relevant["encoding_format"]


_SHAPES: Final[Mapping[str, Callable[[Json], None]]] = {
    _CHAT: _shape_chat,
    _COMPLETIONS: _list_up,
    _RESPONSES: _shape_responses,
    "/v1/embeddings": _shape_embeddings,
    "/v1/moderations": _list_up,
}
_TURNS: Final[Mapping[str, str]] = {_CHAT: "messages", _RESPONSES: "input"}


def _tool(tool: Any) -> Any:
    """A tool of a chat, without the default of its `strict`."""
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return tool
    told = {name: value for name, value in function.items() if value is not None}
    if told.get("strict") is False:
        del told["strict"]
    return {**tool, "function": told}


def _item(item: Any) -> Any:
    """An item of a Responses input: a message says so, or has a role and says nothing."""
    if not isinstance(item, dict) or "role" not in item or item.get("type") not in (None, "message"):
        return item
    return _message({name: value for name, value in item.items() if name != "type"})


def _message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    told = {name: value for name, value in message.items() if value is not None}
    content = told.get("content")
    if isinstance(content, list):
        parts = [_part(part) for part in content]
        only = _text_of(parts[0]) if len(parts) == 1 else None
        told["content"] = parts if only is None or len(parts[0]) > 2 else only
    return told


def _part(part: Any) -> Any:
    """A part of a message, without what says nothing: no annotations, the usual detail of a picture."""
    if not isinstance(part, dict):
        return part
    told = {name: value for name, value in part.items() if value is not None}
    for name, nothing in (("annotations", []), ("logprobs", []), ("detail", "auto")):
        if told.get(name) == nothing:
            del told[name]
    if isinstance(told.get("image_url"), dict):
        told["image_url"] = _part(told["image_url"])
    return told


def _is_users(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") != "user":
        return False
    return isinstance(message.get("content"), str | list)


def _text_of(part: Any) -> str | None:
    if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS:
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def _without_text(content: Any) -> Any:
    """What is left of a content when its texts are taken out: that there were some, and pictures in their places."""
    if isinstance(content, str):
        return [None]
    left = [None if _text_of(part) is not None else part for part in content]
    return [part for place, part in enumerate(left) if part is not None or place == 0 or left[place - 1] is not None]
