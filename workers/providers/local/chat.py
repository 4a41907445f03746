"""`/v1/chat/completions` for the extractive models: from messages to a text and a wish, and back to an OpenAI body."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.embedding import Embedder
from workers.providers.local.extract import Extract, key_points, summarize
from workers.providers.local.instructions import Wish, read_wish, split_instruction
from workers.providers.protocol import ProviderError, Usage

MAX_TEXT_BYTES = 200_000
SUMMARIZE = "summarize"
KEY_POINTS = "keypoints"
_WRITERS = {SUMMARIZE: summarize, KEY_POINTS: key_points}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request after validation. `prompt` is everything that counts as input; `text` is what is worked on."""

    model: str
    prompt: list[str]
    text: str
    wish: Wish
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was written, and the tokens it took."""

    extract: Extract
    usage: Usage

    @property
    def finish_reason(self) -> str:
        return "length" if self.extract.cut else "stop"


def read_chat(model: str, body: dict[str, Any]) -> ChatRequest:
    """Validate the request. Raises ProviderError(invalid_request)."""
    prompt = [(str(message.get("role")), content_of(message)) for message in messages_of(body)]
    users = [text for role, text in prompt if role == "user"]
    if not users:
        raise invalid("messages must contain a user message: it holds the text")
    if len(users[-1].encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise invalid(f"the text is longer than {MAX_TEXT_BYTES} bytes, the most that local models take")
    instruction, text = split_instruction(users[-1])
    systems = [content for role, content in prompt if role in ("system", "developer")]
    return ChatRequest(
        model, [content for _, content in prompt], text, read_wish(*systems, instruction), _max_tokens(body)
    )


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a request that wants one answer. Raises ProviderError(invalid_request)."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a list with at least one message")
    if body.get("n") not in (None, 1):
        raise invalid("n must be 1: local models give the same answer every time")
    return [message for message in messages if isinstance(message, dict)]


def write_answer(request: ChatRequest, embedder: Embedder, checkpoint: Callable[[], None]) -> Answer:
    """Run the model. `checkpoint` is called between steps and may raise to stop. Deterministic."""
    extract = _WRITERS[request.model](request.text, request.wish, request.max_tokens, embedder, checkpoint)
    checkpoint()
    return answered(extract, request.prompt, embedder)


def answered(extract: Extract, prompt: list[str], embedder: Embedder) -> Answer:
    """An answer to `prompt` with its tokens counted."""
    read = sum(embedder.count_tokens([piece]) for content in prompt for piece in _slices(content))
    written = embedder.count_tokens([extract.text])
    return Answer(
        extract, Usage(input_tokens=read, output_tokens=written, cached_tokens=0, total_tokens=read + written)
    )


def chat_body(identity: str, created: int, model: str, answer: Answer) -> dict[str, Any]:
    """The OpenAI `chat.completion` object."""
    usage = answer.usage
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.extract.text, "refusal": None},
                "logprobs": None,
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        },
    }


def invalid(message: str) -> ProviderError:
    """A request that no retry can save."""
    return ProviderError("invalid_request", message, retryable=False)


def content_of(message: dict[str, Any]) -> str:
    """A message's text; parts that aren't text are refused, because leaving them out would change what is asked."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid("a message's content must be a string or a list of text parts")
    parts = []
    for part in content:
        if (
            not isinstance(part, dict)
            or part.get("type") not in ("text", "input_text")
            or not isinstance(part.get("text"), str)
        ):
            raise invalid("local models read text only")
        parts.append(part["text"])
    return "\n\n".join(parts)


def _max_tokens(body: dict[str, Any]) -> int | None:
    given = body.get("max_completion_tokens")
    given = body.get("max_tokens") if given is None else given
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise invalid("max_tokens must be a whole number of at least 1")
    return given


def _slices(content: str, size: int = 32_000) -> list[str]:
    return [content[start : start + size] for start in range(0, len(content), size)]
