"""The edge in front of a few small handlers, and the whole API on a fresh database."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from api.answers import Answer, json_answer
from api.application import Application
from api.auth import Authenticator
from api.edge.body import BodyLimits
from api.rate import RateLimiter
from api.routing import Call, needs
from core.settings import Settings
from core.store.keys import ApiKey
from tests.support.api import Api, Caller, running_api
from tests.support.raw_http import RunningApp

TOKEN = "cc_" + "a" * 40
READER_TOKEN = "cc_" + "r" * 40
SLOW_TOKEN = "cc_" + "s" * 40
STRICT_TOKEN = "cc_" + "t" * 40


@needs("jobs:write")
async def take(call: Call) -> Answer:
    return json_answer({"took": await call.json(), "trace": call.head.traceparent}, 202)


@needs("jobs:write")
async def poke(call: Call) -> Answer:
    return json_answer({"poked": call.path_params["id"]})


@needs(None)
async def fail(call: Call) -> Answer:
    raise RuntimeError("the secret of the house")


@needs(None)
async def outage(call: Call) -> Answer:
    raise ConnectionRefusedError("no database")


@needs("jobs:read")
async def limited_outage(call: Call) -> Answer:
    raise ConnectionRefusedError("no database")


@needs(None)
async def hello(call: Call) -> Answer:
    return json_answer({"query": call.query("limit", "metadata[")})


def _key(*scopes: str, rpm: int | None = None) -> ApiKey:
    return ApiKey(uuid4(), uuid4(), frozenset(scopes), rpm)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge() -> AsyncIterator[RunningApp]:
    keys = {
        TOKEN: _key("jobs:write", "jobs:read"),
        READER_TOKEN: _key("jobs:read"),
        SLOW_TOKEN: _key("jobs:write", rpm=2),
        STRICT_TOKEN: _key("jobs:read", rpm=7),
    }

    async def load(token: str) -> ApiKey | None:
        return keys.get(token)

    class Services:
        limits = BodyLimits(max_bytes=1_000_000, idle_s=0.4, total_s=2.0)
        auth = Authenticator(load, RateLimiter(None), 30)

    app = Application()
    app.state.services = Services()
    app.post("/v1/jobs")(take)
    app.get("/v1/jobs")(hello)
    app.post("/v1/jobs/{id}/cancel")(poke)
    app.get("/fail")(fail)
    app.get("/outage")(outage)
    app.get("/limited-outage")(limited_outage)
    async with RunningApp(app) as running:
        yield running


@pytest.fixture
async def api(settings: Settings, owner: AsyncEngine) -> AsyncIterator[Api]:
    """The whole API on a fresh database."""
    async with running_api(settings, owner) as running:
        yield running


@pytest.fixture
async def caller(api: Api) -> Caller:
    """A caller with the two scopes that new keys have."""
    return await api.caller()
