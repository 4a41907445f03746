"""How many tokens a request has: the rules around a tokenizer, and an estimate where none is known. Pure.

A tokenizer is a function from text to a count; `core.tokens` has OpenAI's. What surrounds the text in a chat (roles, names,
tools, pictures) follows the rules that OpenAI publishes, because they are the only ones that are published.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

import numpy as np

Count = Callable[[str], int]

O200K: Final = "o200k_base"
CL100K: Final = "cl100k_base"
# The first that fits decides: the newer encoding's families would also fit the older one's shorter prefixes.
_FAMILIES: Final = (
    (re.compile(r"(?:chatgpt|gpt)-4o|gpt-4\.[15]|gpt-5|gpt-oss|gpt-image|o[1-9](?:-|$)|codex-|computer-use"), O200K),
    (re.compile(r"gpt-4|gpt-3\.5|gpt-35|text-embedding-|omni-moderation|text-moderation"), CL100K),
)

_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_PRIMING: Final = 3
# Of the cookbook's rule for tools, which are rendered as declarations before the first message.
_TOOL, _TOOLS_END, _PROPERTIES, _PROPERTY, _ENUM, _ENUM_ITEM = 7, 12, 3, 3, -3, 3
_TOOL_CALL: Final = 7
_DEPTH: Final = 8  # nobody nests parameters deeper, and a bound keeps a hostile schema from costing anything
_PICTURE: Final = 765  # 1,024 × 1,024 at high detail; the size is not known without fetching it
_PICTURE_LOW: Final = 85

#: Answers without a limit of their own are taken to be as long as this when tokens are set aside for them.
DEFAULT_OUTPUT: Final = 1024
_NO_OUTPUT: Final = frozenset({"/v1/embeddings", "/v1/moderations", "/v1/rerank"})

EXACT_CHARACTERS: Final = 131_072  # longer texts are sampled: ten megabytes take no longer than this many characters
_SLICES: Final = 64
_SLICE: Final = EXACT_CHARACTERS // _SLICES


def encoding_for(model: str) -> str | None:
    """Return the name of the encoding that an OpenAI model uses, or None for everybody else's models.

    A provider in front (`openai/gpt-4o`) and a fine-tune (`ft:gpt-4o-mini:acme::1`) are looked through.
    """
    name = model.rsplit("/", 1)[-1].removeprefix("ft:").lower()
    return next((encoding for family, encoding in _FAMILIES if family.match(name)), None)


def sampled(count: Count) -> Callable[[Iterable[str]], int]:
    """Make a counter of many texts from one of a single text; its time is bounded whatever the texts' length.

    Up to `EXACT_CHARACTERS` in all every text is counted; beyond, slices spread evenly over them stand for the whole.
    """

    def count_all(texts: Iterable[str]) -> int:
        parts = [text for text in texts if text]
        size = sum(map(len, parts))
        if size <= EXACT_CHARACTERS:
            return sum(map(count, parts))
        whole = "".join(parts)
        step = (size - _SLICE) / (_SLICES - 1)
        starts = (int(number * step) for number in range(_SLICES))
        return round(sum(count(whole[start : start + _SLICE]) for start in starts) * size / EXACT_CHARACTERS)

    return count_all


def count_input(endpoint: str, body: Mapping[str, Any], count: Count) -> int:
    """Return the input tokens of a request that was checked against its operation's schema; never raises for odd members."""
    texts: list[str] = []
    fixed = 0
    if endpoint == "/v1/chat/completions":
        fixed = _PRIMING + sum(_message(message, texts) for message in _list(body.get("messages")))
        fixed += _tools(body.get("tools"), texts)
    elif endpoint == "/v1/responses":
        fixed = _PRIMING + _response_input(body, texts) + _tools(body.get("tools"), texts)
    elif endpoint == "/v1/rerank":
        texts.extend(_strings(body.get("query")))
        fixed = _plain(body.get("documents"), texts)
    else:
        fixed = _plain(body.get("prompt" if endpoint == "/v1/completions" else "input"), texts)
    return fixed + sampled(count)(texts)


def output_limit(
    endpoint: str, body: Mapping[str, Any], *, default: int = DEFAULT_OUTPUT, ceiling: int | None = None
) -> int:
    """Return the most output tokens to expect: the request's own limit, else `default`, times the choices it asks for."""
    if endpoint in _NO_OUTPUT:
        return 0
    own = (body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    limit = next((value for value in own if _is_count(value)), default)
    if ceiling is not None:
        limit = min(limit, ceiling)
    choices = body.get("n")
    return limit * (choices if _is_count(choices) else 1)


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` has for a tokenizer that we do not have, from the scripts it is written in.

    Linear in the text's length; wrap it in `sampled` where texts may be large.
    """
    if not text:
        return 0
    if text.isascii():
        classes = _ASCII_CLASS[np.frombuffer(text.encode("ascii"), np.uint8)]
    else:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        classes = _CLASSES[np.searchsorted(_STARTS, points, side="right") - 1]
    return max(1, round(float(np.bincount(classes, minlength=len(_WEIGHTS)) @ _WEIGHTS)))


# Tokens per character and script, as current tokenizers of large vocabulary split running text: a word of Latin letters is
# one token with the space before it, a Chinese character somewhat less than one.
_SCRIPTS: Final = {
    "space": 0.02, "break": 0.35, "digit": 0.55, "sign": 0.7, "latin": 0.22, "accented": 0.5, "greek": 0.38,
    "cyrillic": 0.27, "hebrew": 0.42, "arabic": 0.34, "indic": 0.33, "thai": 0.37, "kana": 0.8, "han": 0.75, "hangul": 0.7,
    "other": 1.1,
}  # fmt: skip
_WEIGHTS: Final = np.array(list(_SCRIPTS.values()))
_NUMBER: Final = {name: number for number, name in enumerate(_SCRIPTS)}
# First code point of each stretch and the script that it is counted as.
_STRETCHES: Final = (
    (0, "sign"), (9, "break"), (14, "sign"), (32, "space"), (33, "sign"), (48, "digit"), (58, "sign"), (65, "latin"),
    (91, "sign"), (97, "latin"), (123, "sign"), (0xC0, "accented"), (0x250, "other"), (0x300, "accented"), (0x370, "greek"),
    (0x400, "cyrillic"), (0x530, "other"), (0x590, "hebrew"), (0x600, "arabic"), (0x700, "other"), (0x750, "arabic"),
    (0x780, "other"), (0x900, "indic"), (0xE00, "thai"), (0xE80, "other"), (0x1100, "hangul"), (0x1200, "other"),
    (0x1E00, "accented"), (0x1F00, "greek"), (0x2000, "sign"), (0x2070, "other"), (0x3000, "han"), (0x3040, "kana"),
    (0x3100, "han"), (0xA000, "other"), (0xAC00, "hangul"), (0xD7A4, "other"), (0xF900, "han"), (0xFB00, "other"),
    (0xFB50, "arabic"), (0xFE00, "other"), (0xFE70, "arabic"), (0xFF00, "han"), (0xFFF0, "other"), (0x20000, "han"),
    (0x32000, "other"),
)  # fmt: skip
_STARTS: Final = np.array([start for start, _ in _STRETCHES], np.uint32)
_CLASSES: Final = np.array([_NUMBER[script] for _, script in _STRETCHES])
_ASCII_CLASS: Final = _CLASSES[np.searchsorted(_STARTS, np.arange(128, dtype=np.uint32), side="right") - 1]


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (each for each in value if isinstance(each, str))


def _plain(value: object, texts: list[str]) -> int:
    """Collect the texts of a string or a list of them; return what needs no counting: token numbers and pictures."""
    texts.extend(_strings(value))
    fixed = 0
    for item in _list(value):
        if isinstance(item, int):
            fixed += 1
        elif isinstance(item, list):
            fixed += len(item)
        elif isinstance(item, Mapping):
            fixed += _content([item], texts)
    return fixed


# Compared one by one, not looked up in a set: a request's `type` may be of any type, also of one that can not be hashed.
_PICTURES: Final = ("image_url", "input_image", "image")


def _content(content: object, texts: list[str]) -> int:
    """Collect the texts of a message's content; return the tokens of its pictures."""
    texts.extend(_strings(content))
    fixed = 0
    for part in _list(content):
        if not isinstance(part, Mapping):
            continue
        texts.extend(_strings(part.get("text")))
        texts.extend(_strings(part.get("refusal")))
        if any(part.get("type") == picture for picture in _PICTURES):
            picture = part.get("image_url")
            detail = picture.get("detail") if isinstance(picture, Mapping) else part.get("detail")
            fixed += _PICTURE_LOW if detail == "low" else _PICTURE
    return fixed


def _message(message: object, texts: list[str]) -> int:
    if not isinstance(message, Mapping):
        return 0
    fixed = _PER_MESSAGE + _content(message.get("content"), texts)
    texts.extend(_strings(message.get("role")))
    if isinstance(message.get("name"), str):
        fixed += _PER_NAME
        texts.append(message["name"])
    for call in _list(message.get("tool_calls")):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            fixed += _TOOL_CALL
            texts.extend(_strings([function.get("name"), function.get("arguments")]))
    return fixed


def _response_input(body: Mapping[str, Any], texts: list[str]) -> int:
    fixed = 0
    if isinstance(body.get("instructions"), str):
        fixed += _PER_MESSAGE + 1
        texts.append(body["instructions"])
    given = body.get("input")
    if isinstance(given, str):
        texts.append(given)
        return fixed + _PER_MESSAGE + 1
    for item in _list(given):
        if isinstance(item, Mapping) and "role" in item:
            fixed += _message(item, texts)
        elif isinstance(item, Mapping):
            # Calls and their outputs: what the model reads of them stands in these members.
            fixed += _TOOL_CALL
            texts.extend(_strings([item.get(name) for name in ("name", "arguments", "output")]))
    return fixed


def _tools(tools: object, texts: list[str]) -> int:
    fixed = 0
    for tool in _list(tools):
        if not isinstance(tool, Mapping):
            continue
        function = tool.get("function", tool)
        if not isinstance(function, Mapping):
            continue
        fixed += _TOOL
        texts.append(f"{function.get('name', '')}:{_sentence(function.get('description'))}")
        fixed += _parameters(function.get("parameters"), texts, _DEPTH)
    return fixed + _TOOLS_END if fixed else 0


def _parameters(schema: object, texts: list[str], depth: int) -> int:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not properties or depth == 0:
        return 0
    fixed = _PROPERTIES
    for name, about in properties.items():
        fixed += _PROPERTY
        if not isinstance(about, Mapping):
            continue
        kind = about.get("type", "")
        texts.append(
            f"{name}:{kind if isinstance(kind, str) else json.dumps(kind)}:{_sentence(about.get('description'))}"
        )
        choices = _list(about.get("enum"))
        if choices:
            fixed += _ENUM + _ENUM_ITEM * len(choices)
            texts.extend(str(choice) for choice in choices)
        fixed += _parameters(about, texts, depth - 1) + _parameters(about.get("items"), texts, depth - 1)
    return fixed


def _sentence(description: object) -> str:
    return description.removesuffix(".") if isinstance(description, str) else ""
