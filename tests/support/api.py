"""The whole API on a fresh database, and callers with keys of their own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from core.secrets import SecretBox
from core.settings import ApiSettings, Settings, WebhookSettings
from core.store.keys import authenticate, create_key
from policies.cache_policy import NO_RULES, CacheRules
from policies.limits import NO_LIMITS, Limits
from tests.support.raw_http import RunningApp
from tests.support.servers import REPOSITORY

#: Nobody announces what these tests do in the database, so the hub has to look often.
QUICK = {"poll_s": 0.05, "poll_without_redis_s": 0.05, "body_idle_timeout_s": 2.0}


def job_request(text: str = "Where is my coat?", *, model: str = "sim/fast", **fields: Any) -> dict[str, Any]:
    """A valid request for a chat job; `fields` add to it or replace."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"endpoint": "/v1/chat/completions", "body": body, **fields}


@dataclass
class Caller:
    """A client with a key."""

    http: httpx.AsyncClient
    key: str
    tenant_id: UUID

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit a valid job; the Job."""
        answer = await self.http.post("/v1/jobs", json=job_request(**fields))
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def get(self, path: str, expect: int = 200, /, **query: Any) -> Any:
        """Get a path, expect a status, return the JSON."""
        answer = await self.http.get(path, params=query)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def post(self, path: str, expect: int = 200, json: Any = None) -> Any:
        """Post to a path, expect a status, return the JSON."""
        answer = await self.http.post(path, json=json) if json is not None else await self.http.post(path)
        assert answer.status_code == expect, answer.text
        return answer.json()


@dataclass
class Api:
    """The running API."""

    running: RunningApp
    settings: Settings
    owner: AsyncEngine
    _clients: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def port(self) -> int:
        return self.running.port

    async def caller(
        self,
        tenant: str = "acme",
        *scopes: str,
        requests_per_minute: int | None = None,
        limits: Limits = NO_LIMITS,
        cache: CacheRules = NO_RULES,
    ) -> Caller:
        """A new key of a tenant, and a client that uses it."""
        assert self.settings.secret_key is not None
        box = SecretBox.from_setting(self.settings.secret_key.get_secret_value())
        made = await create_key(
            self.owner, box, tenant, scopes or ("jobs:write", "jobs:read"), requests_per_minute, limits, cache
        )
        known = await authenticate(self.owner, made.key)
        assert known is not None
        http = await self._clients.enter_async_context(
            httpx.AsyncClient(
                base_url=self.running.url, headers={"authorization": f"Bearer {made.key}"}, timeout=30, trust_env=False
            )
        )
        return Caller(http, made.key, known.tenant_id)

    async def aclose(self) -> None:
        await self._clients.aclose()


@asynccontextmanager
async def running_api(
    settings: Settings, owner: AsyncEngine, *, catalog: Path | None = None, **changes: Any
) -> AsyncIterator[Api]:
    """The API as `python -m api` serves it, in this event loop, with the repository's catalog or another."""
    own = settings.model_copy(
        update={
            "catalog": catalog or REPOSITORY / "catalog.toml",
            "simulator_url": settings.simulator_url or "http://127.0.0.1:9",
        }
    )
    app = create_app(own, ApiSettings(**(QUICK | changes)), WebhookSettings())
    async with RunningApp(app) as running:
        api = Api(running, own, owner)
        try:
            yield api
        finally:
            await api.aclose()
