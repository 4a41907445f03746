"""Provider `anthropic`: the Messages API, called and answered in the shapes of OpenAI's chat completions."""

import asyncio
import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from workers.providers import assembly
from workers.providers.anthropic.messages import Json, invalid
from workers.providers.anthropic.reply import chat_completion
from workers.providers.anthropic.request import SAMPLING, message_request
from workers.providers.anthropic.stream import MessageAssembler
from workers.providers.openai import as_json
from workers.providers.protocol import Call, ProviderError, Reply
from workers.providers.transport import PooledTransport
from workers.providers.upstream import OnDelta, UpstreamProvider

_CHAT: Final = "/v1/chat/completions"
_PATHS: Final = {_CHAT: "/messages", "/v1/models": "/models"}
# The later version, 2026-10-21, changes nothing that is read here, and refuses `temperature` even to the models that take it.
_VERSION: Final = "2023-06-01"
_ABOUT_SAMPLING: Final = re.compile(r"temperature|top_p|top_k")


class AnthropicDialect:
    """The Messages API's shapes. Remembers which deployments refuse sampling parameters."""

    def __init__(self) -> None:
        self.without_sampling: set[str] = set()

    def path(self, endpoint: str) -> str:
        if endpoint not in _PATHS:
            raise invalid(f"Anthropic's API does not serve {endpoint}")
        return _PATHS[endpoint]

    def headers(self, secret: str | None) -> Mapping[str, str]:
        return {"anthropic-version": _VERSION} | ({"x-api-key": secret} if secret else {})

    def content(self, call: Call) -> bytes:
        return as_json(self._request(call)[0])

    def assembler(self, call: Call, secret: str | None) -> assembly.Assembler:
        return MessageAssembler(call.deployment.max_reply_bytes, secret)

    def answer(self, call: Call, body: Any, secret: str | None) -> Json:
        return chat_completion(body, self._request(call)[1], secret)

    def _request(self, call: Call) -> tuple[Json, list[str]]:
        sampling = call.deployment.name not in self.without_sampling
        return message_request(call.body, call.deployment, stream=call.stream, sampling=sampling)


class AnthropicProvider(UpstreamProvider):
    """Runs calls of the Messages API; see `UpstreamProvider`."""

    def __init__(
        self, *, environment: Mapping[str, str] = os.environ, transport: PooledTransport | None = None
    ) -> None:
        self._shapes = AnthropicDialect()
        super().__init__(self._shapes, environment=environment, transport=transport)

    async def call(self, call: Call, on_delta: OnDelta | None) -> Reply:
        """Run one call; see `Provider.call`.

        Models since Claude 4.7 refuse `temperature` and its like, and nothing but the refusal tells which ones do. The first
        one is answered by asking again without them; from then on the deployment isn't sent them any more.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await super().call(call, on_delta)
        except ProviderError as error:
            if not self._refused_sampling(call, error):
                raise
        self._shapes.without_sampling.add(call.deployment.name)
        left = max(0.0, call.timeout_s - (loop.time() - began))
        return await super().call(dataclasses.replace(call, timeout_s=left), on_delta)

    def _refused_sampling(self, call: Call, error: ProviderError) -> bool:
        sent = call.deployment.name not in self._shapes.without_sampling and any(
            call.body.get(name) is not None for name in SAMPLING
        )
        return sent and error.upstream_status == 400 and _ABOUT_SAMPLING.search(error.message) is not None
