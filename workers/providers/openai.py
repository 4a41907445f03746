"""Provider `openai`: any server that speaks the OpenAI API, such as OpenAI, vLLM, llama.cpp, Ollama, or the simulator."""

import os
from collections.abc import Mapping
from typing import Any

import orjson

from workers.providers import assembly, shape
from workers.providers.protocol import Call, ProviderError
from workers.providers.transport import PooledTransport
from workers.providers.upstream import Json, UpstreamProvider

_WITH_STREAM_OPTIONS = frozenset({"/v1/chat/completions", "/v1/completions"})


class OpenAIDialect:
    """The OpenAI API's own shapes: bodies pass through."""

    def path(self, endpoint: str) -> str:
        return endpoint.removeprefix("/v1")

    def headers(self, secret: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def content(self, call: Call) -> bytes:
        body = {**call.body, "model": call.deployment.upstream_model}
        if call.stream:
            body["stream"] = True
            if call.deployment.stream_usage and call.endpoint in _WITH_STREAM_OPTIONS:
                options = body.get("stream_options")
                body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        else:
            body.pop("stream", None)
            body.pop("stream_options", None)
        return as_json(body)

    def assembler(self, call: Call, secret: str | None) -> assembly.Assembler:
        return assembly.assembler_for(call.endpoint, call.deployment.max_reply_bytes, secret)

    def answer(self, call: Call, body: Any, secret: str | None) -> Json:
        return shape.checked(call.endpoint, call.body, body, secret)


class OpenAIProvider(UpstreamProvider):
    """Runs calls of the OpenAI API; see `UpstreamProvider`."""

    def __init__(
        self, *, environment: Mapping[str, str] = os.environ, transport: PooledTransport | None = None
    ) -> None:
        super().__init__(OpenAIDialect(), environment=environment, transport=transport)


def as_json(body: Json) -> bytes:
    """A request's bytes. Raises ProviderError for what JSON can't hold: an integer beyond 64 bits, a lone surrogate."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise ProviderError("invalid_request", "the body cannot be sent as JSON", retryable=False) from None
