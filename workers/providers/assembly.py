"""Putting a streamed answer together again: the body that the same request would have got without streaming."""

from collections.abc import Callable
from typing import Any, Protocol

from workers.providers.errors import in_band
from workers.providers.protocol import Delta
from workers.providers.reading import bad_reply, too_large

Json = dict[str, Any]
OnDelta = Callable[[Delta], None]

_PLAIN_DELTA = frozenset({"role", "content"})
_SHOWN = frozenset({"content", "refusal"})


class Assembler(Protocol):
    """Takes the parsed events of one stream.

    `tokens` counts pieces that carried something of the answer, `reasoned` tells whether some of them were reasoning.
    """

    tokens: int
    reasoned: bool

    def take(self, event: Json) -> Delta | None:
        """Add one event; what of it goes to listeners. Raises ProviderError for an in-band error."""

    def body(self, *, ended: bool) -> Json:
        """The whole body. `ended`: the stream said `[DONE]`. Raises ProviderError if the answer broke off."""


def assembler_for(endpoint: str, limit: int, secret: str | None) -> Assembler:
    """The assembler of an endpoint that can stream; `limit` is in characters kept."""
    if endpoint == "/v1/responses":
        return _Response(secret)
    return _Chat(limit, secret) if endpoint == "/v1/chat/completions" else _Completion(limit, secret)


class _Chunked:
    """What chunks of chat and text completions have in common: a head, choices by index, usage in the last chunk."""

    kind = ""

    def __init__(self, limit: int, secret: str | None) -> None:
        self.tokens = 0
        self.reasoned = False
        self._secret = secret
        self._limit = limit
        self._kept = 0
        self._head: Json = {}
        self._choices: dict[int, Json] = {}
        self._parts: dict[int, dict[str, list[str]]] = {}

    def take(self, event: Json) -> Delta | None:
        if event.get("error"):
            raise in_band(event["error"], self._secret)
        for name, value in event.items():
            if name != "choices" and value is not None:
                self._head[name] = value
        choices = event.get("choices")
        if not choices:
            return None
        if not isinstance(choices, list):
            raise bad_reply("a streamed chunk has no list of choices")
        delta: Delta | None = None
        for choice in choices:
            index = choice.get("index", 0) if isinstance(choice, dict) else None
            if not isinstance(index, int):
                raise bad_reply("a streamed choice has no usable index")
            delta = self._take_choice(index, choice) or delta
        return delta

    def _take_choice(self, index: int, choice: Json) -> Delta | None:
        raise NotImplementedError

    def _choice(self, index: int) -> tuple[Json, dict[str, list[str]]]:
        if index not in self._choices:
            self._choices[index] = {"index": index}
            self._parts[index] = {}
        return self._choices[index], self._parts[index]

    def _keep(self, parts: dict[str, list[str]], name: str, text: str) -> None:
        self._kept += len(text)
        if self._kept > self._limit:
            raise too_large(self._limit)
        parts.setdefault(name, []).append(text)

    def _outer(self, kept: Json, choice: Json, inner: str) -> None:
        for name, value in choice.items():
            if name in (inner, "index") or value is None:
                continue
            if name == "logprobs" and isinstance(value, dict):
                self._logprobs(kept.setdefault("logprobs", {}), value)
            else:
                kept[name] = value

    def _logprobs(self, kept: Json, more: Json) -> None:
        for name, value in more.items():
            if isinstance(value, list) and isinstance(kept.get(name), list):
                kept[name] += value
            elif value is not None:
                kept[name] = list(value) if isinstance(value, list) else value

    def body(self, *, ended: bool) -> Json:
        choices = [self._finish(self._choices[index], self._parts[index]) for index in sorted(self._choices)]
        if not choices:
            raise bad_reply("the stream ended without an answer")
        if not ended and any(choice["finish_reason"] is None for choice in choices):
            raise bad_reply("the stream broke off before its end")
        return {**self._head, "object": self.kind, "choices": choices}

    def _finish(self, choice: Json, parts: dict[str, list[str]]) -> Json:
        raise NotImplementedError


class _Completion(_Chunked):
    kind = "text_completion"

    def _take_choice(self, index: int, choice: Json) -> Delta | None:
        kept, parts = self._choice(index)
        self._outer(kept, choice, "text")
        text = choice.get("text")
        text = text if isinstance(text, str) else ""
        if text:
            self.tokens += 1
            self._keep(parts, "text", text)
        plain = index == 0 and choice.get("finish_reason") is None and choice.get("logprobs") is None
        if plain:
            return Delta(text, None) if text else None
        return Delta(text if index == 0 else "", choice)

    def _finish(self, choice: Json, parts: dict[str, list[str]]) -> Json:
        text = "".join(parts.get("text", ()))
        return {"logprobs": None, "finish_reason": None, **choice, "text": text}


class _Chat(_Chunked):
    kind = "chat.completion"

    def __init__(self, limit: int, secret: str | None) -> None:
        super().__init__(limit, secret)
        self._calls: dict[int, dict[int, Json]] = {}
        self._roles: dict[int, Json] = {}

    def _take_choice(self, index: int, choice: Json) -> Delta | None:
        kept, parts = self._choice(index)
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        if len(choice) > 2:  # more than index and delta
            self._outer(kept, choice, "delta")
        text = delta.get("content")
        text = text if isinstance(text, str) else ""
        carried = False
        for name, value in delta.items():
            if value is None or value == "":
                continue
            carried = self._take_member(index, parts, name, value) or carried
        if carried:
            self.tokens += 1
        plain = index == 0 and choice.get("finish_reason") is None and choice.get("logprobs") is None
        if plain and all(name in _PLAIN_DELTA or value is None for name, value in delta.items()):
            return Delta(text, None) if text else None
        return Delta(text if index == 0 else "", choice)

    def _take_member(self, index: int, parts: dict[str, list[str]], name: str, value: Any) -> bool:
        """Keep one member of a delta; whether it carried a piece of the answer."""
        if name == "role":
            self._roles.setdefault(index, {})["role"] = value
            return False
        if name == "tool_calls" and isinstance(value, list):
            for piece in value:
                self._take_call(index, piece)
        elif isinstance(value, str):  # content, refusal, and reasoning under its various names
            self.reasoned = self.reasoned or name not in _SHOWN
            self._keep(parts, name, value)
        else:
            self._roles.setdefault(index, {})[name] = value
        return True

    def _take_call(self, index: int, piece: Any) -> None:
        number = piece.get("index", 0) if isinstance(piece, dict) else None
        if not isinstance(number, int):
            raise bad_reply("a streamed tool call has no usable index")
        calls = self._calls.setdefault(index, {})
        call = calls.setdefault(number, {"id": None, "type": "function", "function": {"name": "", "arguments": []}})
        for name, value in piece.items():
            if name == "function" and isinstance(value, dict):
                function = call["function"]
                function["name"] = function["name"] or value.get("name") or ""
                if isinstance(arguments := value.get("arguments"), str):
                    self._keep({"arguments": function["arguments"]}, "arguments", arguments)
            elif name != "index" and value is not None:
                call[name] = value

    def _finish(self, choice: Json, parts: dict[str, list[str]]) -> Json:
        index = choice["index"]
        message: Json = {"role": "assistant", "content": None, "refusal": None, **self._roles.get(index, {})}
        for name, pieces in parts.items():
            message[name] = "".join(pieces)
        calls = self._calls.get(index)
        if calls:
            message["tool_calls"] = [_joined(calls[number]) for number in sorted(calls)]
        elif message["content"] is None and message["refusal"] is None:
            message["content"] = ""
        return {"finish_reason": None, "logprobs": None, **choice, "message": message}


def _joined(call: Json) -> Json:
    function = call["function"]
    return {**call, "function": {**function, "arguments": "".join(function["arguments"])}}


class _Response:
    """The Responses API sends the whole body with its last event; all others go to listeners as they are."""

    def __init__(self, secret: str | None) -> None:
        self.tokens = 0
        self.reasoned = False
        self._secret = secret
        self._body: Json | None = None

    def take(self, event: Json) -> Delta | None:
        kind = event.get("type")
        if kind == "error" or event.get("error"):
            raise in_band(event.get("error") or event, self._secret)
        response = event.get("response")
        if kind in ("response.completed", "response.incomplete", "response.failed") and isinstance(response, dict):
            if kind == "response.failed":
                raise in_band(response.get("error") or {}, self._secret)
            self._body = response
        text = event.get("delta") if kind == "response.output_text.delta" else None
        if isinstance(kind, str) and kind.endswith(".delta"):
            self.tokens += 1
            self.reasoned = self.reasoned or kind.startswith("response.reasoning")
        return Delta(text if isinstance(text, str) else "", event)

    def body(self, *, ended: bool) -> Json:  # noqa: ARG002  # these streams end with the body, not with [DONE]
        if self._body is None:
            raise bad_reply("the stream broke off before its end")
        return self._body


def whole_text(endpoint: str, body: Json) -> str:
    """The plain text of choice 0 of a whole body, for listeners of an upstream that would not stream."""
    try:
        choice = body["choices"][0]
        text = choice["message"]["content"] if endpoint == "/v1/chat/completions" else choice["text"]
    except (KeyError, IndexError, TypeError):
        return ""
    return text if isinstance(text, str) else ""
