"""What an operation's request must hold to be worth queueing. Members not named here pass through untouched.

These are checks, not conversions: the job keeps the caller's own object.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

MAX_TEXT: Final = 4_000_000
_MAX_INPUTS: Final = 2_048
_MAX_TOKENS: Final = 10_000_000
# Spaces, controls and zero-width characters: a prompt of nothing else is empty to every model.
_VISIBLE = re.compile("[^\\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
                      "\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]")  # fmt: skip

_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": _MAX_INPUTS}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("content", message)


def _text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise _wrong(f"May have at most {MAX_TEXT:,} characters")
    if not _VISIBLE.search(value):
        raise _wrong("Must hold at least one visible character")
    return value


def _token_ids(value: list[Any]) -> bool:
    return all(type(item) is int and item >= 0 for item in value)


def _texts_or_tokens(value: object) -> object:
    """A text, a list of texts, a list of token ids, or a list of such lists."""
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, list) or not value:
        raise _wrong("Must be a text, or a list of texts or of token ids that is not empty")
    if _token_ids(value):
        return value
    if len(value) > _MAX_INPUTS:
        raise _wrong(f"At most {_MAX_INPUTS} inputs are accepted")
    for item in value:
        if isinstance(item, str):
            _text(item)
        elif not (isinstance(item, list) and item and _token_ids(item)):
            raise _wrong("Must hold texts, or lists of token ids")
    return value


def _texts_or_objects(value: object) -> object:
    """A text, or a list of texts and objects."""
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, list) or not value:
        raise _wrong("Must be a text, or a list that is not empty")
    for item in value:
        if isinstance(item, str):
            _text(item)
        elif not isinstance(item, dict):
            raise _wrong("Must hold texts or objects")
    return value


def _a_list(value: object) -> object:
    if not isinstance(value, list):
        raise _wrong("Must be a list that is not empty")
    return _texts_or_objects(value)


def _stop(value: object) -> object:
    texts = [value] if isinstance(value, str) else value
    if texts is not None and not (
        isinstance(texts, list)
        and len(texts) <= 64
        and all(isinstance(text, str) and len(text) <= 1000 for text in texts)
    ):
        raise _wrong("Must be a text or at most 64 texts of at most 1000 characters")
    return value


def _no_stream(value: bool | None) -> bool | None:
    if value:
        raise _wrong("This operation cannot stream: leave stream out")
    return value


def _content(value: object) -> object:
    if value is None:
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise _wrong(f"May have at most {MAX_TEXT:,} characters")
        return value
    if not isinstance(value, list) or not all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in value
    ):
        raise _wrong("Must be a text, a list of parts with a type, or null")
    if any(len(text) > MAX_TEXT for part in value if isinstance(text := part.get("text"), str)):
        raise _wrong(f"May have at most {MAX_TEXT:,} characters")
    return value


Text = Annotated[str, AfterValidator(_text), Field(min_length=1, max_length=MAX_TEXT)]
TextsOrTokens = Annotated[
    Any,
    AfterValidator(_texts_or_tokens),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, _TEXTS, _IDS, {"type": "array", "items": _IDS, "minItems": 1}]}
    ),
]
TextsOrObjects = Annotated[
    Any,
    AfterValidator(_texts_or_objects),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]},
                    "minItems": 1,
                },
            ]
        }
    ),
]
Documents = Annotated[
    Any,
    AfterValidator(_a_list),
    WithJsonSchema(
        {"type": "array", "items": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]}, "minItems": 1}
    ),
]
Stop = Annotated[
    Any,
    AfterValidator(_stop),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": 64},
                {"type": "null"},
            ]
        }
    ),
]
Content = Annotated[
    Any,
    AfterValidator(_content),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
                },
                {"type": "null"},
            ]
        }
    ),
]
NoStream = Annotated[
    bool | None,
    AfterValidator(_no_stream),
    WithJsonSchema({"enum": [False, None]}),
    Field(description="This operation has no stream."),
]
Tokens = Annotated[int, Field(ge=1, le=_MAX_TOKENS)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())

    model: str = Field(min_length=1, max_length=200, description="A model of GET /v1/models.")


class _Sampled(_Body):
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    stream: bool | None = Field(None, description="Let GET /v1/jobs/{id}/events carry the text as it is written.")


class _Stopped(_Sampled):
    max_tokens: Tokens | None = None
    n: int | None = Field(None, ge=1, le=128)
    stop: Stop = None
    seed: int | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None


def _says_something(message: Message) -> bool:
    content = message.content
    if isinstance(content, str):
        return _VISIBLE.search(content) is not None
    if content:
        return any(part["type"] != "text" or _VISIBLE.search(str(part.get("text", ""))) for part in content)
    return bool(message.model_extra)


class ChatBody(_Stopped):
    """The request of `/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _has_a_prompt(self) -> "ChatBody":
        if not any(map(_says_something, self.messages)):
            raise _wrong("The messages must hold at least one visible character")
        return self


class CompletionBody(_Stopped):
    """The request of `/v1/completions`."""

    prompt: TextsOrTokens


class ResponsesBody(_Sampled):
    """The request of `/v1/responses`."""

    input: TextsOrObjects
    max_output_tokens: Tokens | None = None


class EmbeddingsBody(_Body):
    """The request of `/v1/embeddings`."""

    stream: NoStream = None
    input: TextsOrTokens
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=100_000)


class ModerationBody(_Body):
    """The request of `/v1/moderations`."""

    stream: NoStream = None
    input: TextsOrObjects


class RerankBody(_Body):
    """The request of `/v1/rerank`."""

    stream: NoStream = None
    query: Text
    documents: Documents
    top_n: int | None = Field(None, ge=1)


BODIES: Final[dict[str, type[_Body]]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/completions": CompletionBody,
    "/v1/responses": ResponsesBody,
    "/v1/embeddings": EmbeddingsBody,
    "/v1/moderations": ModerationBody,
    "/v1/rerank": RerankBody,
}
