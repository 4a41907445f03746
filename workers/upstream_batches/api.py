"""OpenAI-style Batch APIs: files and batches of one deployment. Every failure is a ProviderError."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote
from uuid import UUID

import httpx
import orjson

from policies.catalog import Deployment
from workers.providers import errors, reading
from workers.providers.protocol import ProviderError
from workers.providers.transport import ConnectTrace, PooledTransport, StaleConnection

#: What a batch of ours carries in its metadata, so that it is found again.
MARK: Final = "coatcheck_batch"
WINDOW: Final = "24h"
_ANSWER_BYTES: Final = 1_000_000
_LINE_BYTES: Final = 65_536
_PAGE: Final = 100
_PAGES: Final = 10
_BOUNDARY: Final = "coatcheck-boundary-7MA4YWxkTrZu0gW"
_TYPES: Final = {"json": "application/json", "form": f"multipart/form-data; boundary={_BOUNDARY}"}


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What the upstream says of a batch. `errors` are those of the whole, each with the line it is about if it is about one."""

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[Mapping[str, Any], ...] = field(default=())

    @classmethod
    def of(cls, body: Any) -> "UpstreamState":
        """The state in an answer. Raises ProviderError if it is none."""
        if not isinstance(body, dict) or not isinstance(body.get("id"), str) or not isinstance(body.get("status"), str):
            raise reading.bad_reply("the upstream's answer is no batch")
        listed = body.get("errors")
        data = listed.get("data") if isinstance(listed, dict) else None
        told = tuple(error for error in data if isinstance(error, dict)) if isinstance(data, list) else ()
        return cls(body["id"], body["status"], _text(body, "output_file_id"), _text(body, "error_file_id"), told)


class BatchApi:
    """Talks to one deployment.

    Args:
        deployment: whose Batch API.
        transport: connections; shared between deployments.
        timeout_s: longest time for one request, a file's transfer left out.
        environment: where the key is found.
    """

    def __init__(
        self,
        deployment: Deployment,
        transport: PooledTransport,
        *,
        timeout_s: float = 30.0,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.deployment = deployment
        self._transport = transport
        self._timeout_s = timeout_s
        self._environment = environment

    @property
    def secret(self) -> str | None:
        """The key; None for a deployment without one. Raises ProviderError if it is missing."""
        name = self.deployment.api_key_env
        if name is None:
            return None
        secret = self._environment.get(name, "").strip()
        if not secret or not secret.isascii() or not secret.isprintable():
            message = f"the environment variable {name} holds no usable API key"
            raise ProviderError("unauthorized", message, retryable=False)
        return secret

    async def upload(self, name: str, content: bytes) -> str:
        """Make a file of request lines; its id."""
        head = (
            f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
            "content-type: application/jsonl\r\n\r\n"
        )
        form = b"".join((head.encode(), content, f"\r\n--{_BOUNDARY}--\r\n".encode()))
        return _id(await self._ask("POST", "/files", form, kind="form"))

    async def find_file(self, name: str) -> str | None:
        """The id of a file of that name, if there is one."""
        async for listed in self._listed("/files?purpose=batch&"):
            if listed.get("filename") == name:
                return _id(listed)
        return None

    async def submit(self, file_id: str, endpoint: str, batch_id: UUID) -> UpstreamState:
        """Have the upstream work on a file."""
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": WINDOW,
            "metadata": {MARK: str(batch_id)},
        }
        return UpstreamState.of(await self._ask("POST", "/batches", orjson.dumps(body)))

    async def find(self, batch_id: UUID) -> UpstreamState | None:
        """The upstream's batch that carries our id, if there is one."""
        async for listed in self._listed("/batches?"):
            metadata = listed.get("metadata")
            if isinstance(metadata, dict) and metadata.get(MARK) == str(batch_id):
                return UpstreamState.of(listed)
        return None

    async def state(self, upstream_id: str) -> UpstreamState:
        """How far a batch is."""
        return UpstreamState.of(await self._ask("GET", f"/batches/{_path(upstream_id)}"))

    async def cancel(self, upstream_id: str) -> UpstreamState:
        """Ask for a batch to be given up; it ends a while later."""
        return UpstreamState.of(await self._ask("POST", f"/batches/{_path(upstream_id)}/cancel"))

    async def delete_file(self, file_id: str) -> None:
        """Delete a file."""
        await self._ask("DELETE", f"/files/{_path(file_id)}")

    async def lines(self, file_id: str) -> AsyncIterator[bytes]:
        """The lines of a file, one after another; a line may be as long as a reply of the deployment."""
        limit = self.deployment.max_reply_bytes + _LINE_BYTES
        rest = b""
        async with self._answer("GET", f"/files/{_path(file_id)}/content", b"", "json") as response:
            decode = reading.decoder(response.headers.get("content-encoding", ""), 2**62)
            chunks = aiter(cast("httpx.AsyncByteStream", response.stream))
            while True:
                async with self._in_time():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                *lines, rest = (rest + decode(chunk)).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line
                if len(rest) > limit:
                    raise reading.too_large(self.deployment.max_reply_bytes)
        if rest.strip():
            yield rest

    async def _listed(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """The objects of a list, newest first, as far as they may still be ours."""
        after = ""
        for _ in range(_PAGES):
            page = await self._ask("GET", f"{path}limit={_PAGE}{after}")
            data = page.get("data") if isinstance(page, dict) else None
            objects = [listed for listed in data if isinstance(listed, dict)] if isinstance(data, list) else []
            for listed in objects:
                yield listed
            if not objects or not page.get("has_more"):
                return
            after = f"&after={_path(str(objects[-1].get('id')))}"

    async def _ask(self, method: str, path: str, content: bytes = b"", kind: str = "json") -> Any:
        async with self._answer(method, path, content, kind) as response, self._in_time():
            return reading.parse(await self._whole(response, _ANSWER_BYTES))

    @asynccontextmanager
    async def _answer(self, method: str, path: str, content: bytes, kind: str) -> AsyncIterator[httpx.Response]:
        """An answer of status 2xx; any other is raised."""
        try:
            response = await self._send(method, path, content, kind)
            stream = cast("httpx.AsyncByteStream", response.stream)
            try:
                if response.status_code // 100 != 2:
                    raise errors.from_status(
                        response.status_code, response.headers, await self._told(response), self.secret
                    )
                yield response
            finally:
                await stream.aclose()
        except httpx.TransportError as error:
            raise errors.from_transport(error, reading=False) from error

    async def _send(self, method: str, path: str, content: bytes, kind: str) -> httpx.Response:
        url = httpx.URL((self.deployment.base_url or "") + path)
        headers = [("accept", "application/json"), ("accept-encoding", "identity"), ("user-agent", "coatcheck")]
        if content:
            headers.append(("content-type", _TYPES[kind]))
        if secret := self.secret:
            headers.append(("authorization", f"Bearer {secret}"))
        connect_s = self.deployment.connect_timeout_s
        async with self._in_time(len(content)):
            try:
                return await self._transport.send(
                    method, url, headers, content, connect_s=connect_s, trace=ConnectTrace()
                )
            except StaleConnection:
                # What makes something is never sent twice: the next try looks first whether it is there.
                if method == "POST":
                    raise
                return await self._transport.send(
                    method, url, headers, content, connect_s=connect_s, trace=ConnectTrace()
                )

    @asynccontextmanager
    async def _in_time(self, size: int = 0) -> AsyncIterator[None]:
        try:
            # A megabyte a second is little, and enough for the largest file within ten minutes.
            async with asyncio.timeout(self._timeout_s + size / 1_000_000):
                yield
        except TimeoutError:
            message = "the upstream's Batch API did not answer in time"
            raise ProviderError("upstream_timeout", message, retryable=True) from None

    async def _told(self, response: httpx.Response) -> Any:
        """The body of a refusal; whatever is wrong with it, the status still counts."""
        try:
            async with self._in_time():
                return reading.parse(await self._whole(response, _LINE_BYTES))
        except (ProviderError, httpx.TransportError):
            return None

    async def _whole(self, response: httpx.Response, limit: int) -> bytes:
        decode = reading.decoder(response.headers.get("content-encoding", ""), limit)
        return await reading.whole(aiter(cast("httpx.AsyncByteStream", response.stream)), decode, limit)


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def _id(body: Any) -> str:
    found = _text(body, "id") if isinstance(body, dict) else None
    if found is None:
        raise reading.bad_reply("the upstream's answer names no file")
    return found


def _path(name: str) -> str:
    """An id of the upstream's as one part of a path, which it must not leave."""
    return quote(name, safe="") if name.strip(".") else "_"
