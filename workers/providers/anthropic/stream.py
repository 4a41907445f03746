"""A streamed answer of the Messages API, put together again, and told to listeners in OpenAI's shape."""

from typing import Any

from workers.providers.anthropic.messages import Json
from workers.providers.anthropic.reply import RAW_INPUT, finish_reason
from workers.providers.errors import in_band
from workers.providers.protocol import Delta
from workers.providers.reading import bad_reply, too_large

# Which member of a block its deltas of a kind belong to.
_MEMBERS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


class MessageAssembler:
    """Takes the events of one message; see `Assembler`. `body` gives the message as it would have come unstreamed."""

    def __init__(self, limit: int, secret: str | None) -> None:
        self.tokens = 0
        self.reasoned = False
        self._limit = limit
        self._secret = secret
        self._kept = 0
        self._message: Json = {}
        self._blocks: dict[int, Json] = {}
        self._parts: dict[int, dict[str, list[str]]] = {}
        self._calls: list[int] = []

    def take(self, event: Json) -> Delta | None:
        kind = event.get("type")
        if kind == "content_block_delta":  # nearly all of them
            return self._delta(self._index(event), event.get("delta"))
        if kind == "error" or event.get("error"):
            raise in_band(event.get("error") or event, self._secret)
        if kind == "message_start":
            if not isinstance(event.get("message"), dict):
                raise bad_reply("a stream began without its message")
            self._message = dict(event["message"])
        elif kind == "content_block_start":
            return self._begin(self._index(event), event.get("content_block"))
        elif kind == "content_block_stop":
            return self._end(self._index(event))
        elif kind == "message_delta":
            return self._stop(event)
        return None  # ping, message_stop, and whatever is added to the API one day

    def body(self, *, ended: bool) -> Json:  # noqa: ARG002  # these streams end with a reason, not with [DONE]
        if not self._message:
            raise bad_reply("the stream ended without an answer")
        if self._message.get("stop_reason") is None:
            raise bad_reply("the stream broke off before its end")
        return {**self._message, "content": [self._whole(index) for index in sorted(self._blocks)]}

    def _index(self, event: Json) -> int:
        index = event.get("index")
        if type(index) is not int:
            raise bad_reply("a streamed block has no usable index")
        return index

    def _begin(self, index: int, block: Any) -> Delta | None:
        if not isinstance(block, dict):
            raise bad_reply("a streamed block has no beginning")
        self._blocks[index] = dict(block)
        self._parts[index] = {}
        if block.get("type") == "tool_use":
            self._calls.append(index)
            function = {"name": block.get("name"), "arguments": ""}
            return self._tool_delta(index, {"id": block.get("id"), "type": "function", "function": function})
        text = block.get("text") if block.get("type") == "text" else None
        return Delta(text, None) if isinstance(text, str) and text else None

    def _delta(self, index: int, delta: Any) -> Delta | None:
        if not isinstance(delta, dict) or index not in self._blocks:
            raise bad_reply("a streamed piece belongs to no block")
        kind = delta.get("type")
        member = _MEMBERS.get(kind) if isinstance(kind, str) else None
        text = delta.get(member) if member else None
        if not member or not isinstance(text, str) or not text:
            return None
        self._kept += len(text)
        if self._kept > self._limit:
            raise too_large(self._limit)
        self._parts[index].setdefault(member, []).append(text)
        if member == "signature":
            return None
        self.tokens += 1
        if member == "text":
            return Delta(text, None)
        if member == "thinking":
            self.reasoned = True
            return Delta("", _choice({"reasoning_content": text}))
        return self._tool_delta(index, {"function": {"arguments": text}})

    def _end(self, index: int) -> Delta | None:
        """A tool that takes nothing is called without any input; OpenAI's listeners want an empty object."""
        if index in self._calls and not self._parts[index]:
            return self._tool_delta(index, {"function": {"arguments": "{}"}})
        return None

    def _stop(self, event: Json) -> Delta | None:
        if isinstance(usage := event.get("usage"), dict):
            # Counts are of the whole message so far; what the last event leaves out stands in the first.
            told = {name: value for name, value in usage.items() if value is not None}
            self._message["usage"] = {**(self._message.get("usage") or {}), **told}
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return None
        self._message.update({name: value for name, value in delta.items() if value is not None})
        reason = delta.get("stop_reason")
        return Delta("", {**_choice({}), "finish_reason": finish_reason(reason)}) if reason else None

    def _tool_delta(self, index: int, call: Json) -> Delta | None:
        if index not in self._calls:  # the input of a tool that runs at the upstream
            return None
        return Delta("", _choice({"tool_calls": [{"index": self._calls.index(index), **call}]}))

    def _whole(self, index: int) -> Json:
        block = dict(self._blocks[index])
        for member, pieces in self._parts[index].items():
            text = "".join(pieces)
            if member == "partial_json":
                block[RAW_INPUT] = text
            else:
                block[member] = str(block.get(member) or "") + text
        return block


def _choice(delta: Json) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
