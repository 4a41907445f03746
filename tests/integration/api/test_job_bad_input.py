"""The bad-input catalogue for job requests, lists and bulk: the named status, the field at fault, and no row written."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.redis import EmbeddedRedis
from core.database import connect
from core.settings import Settings
from tests.support.api import Api, Caller, job_request, running_api
from tests.support.raw_http import exchange
from tests.support.store import Store

CHAT = "/v1/chat/completions"


def with_body(**members: Any) -> dict[str, Any]:
    request = job_request()
    request["body"] |= members
    return request


def operation(endpoint: str, **body: Any) -> dict[str, Any]:
    return {"endpoint": endpoint, "body": body}


def said(content: Any) -> dict[str, Any]:
    return with_body(messages=[{"role": "user", "content": content}])


EMBED, RERANK = "/v1/embeddings", "/v1/rerank"
HOOK = "https://example.com/hook"
ROLE, CONTENT = "/body/messages/0/role", "/body/messages/0/content"
DOCS, QUERY = "/body/documents", "/body/query"
FIRST_EVENT, HEADERS = "/webhook/events/0", "/webhook/headers"
CONCURRENCY_KEY, LIMIT = "/concurrency_key", "/concurrency_limit"
BORN = {"url": HOOK, "events": ["job.born"]}
OWN_HEADERS = {"url": HOOK, "headers": {"a": "b\r\nc: d"}}
ROWS: list[tuple[str, Any, str, str]] = [
    ("an unknown field of ours", job_request(tenant_id="x"), "invalid_request", "/tenant_id"),
    ("a state from outside", job_request(state="succeeded"), "invalid_request", "/state"),
    ("a result from outside", job_request(result={}), "invalid_request", "/result"),
    ("a text for a number", job_request(priority="5"), "invalid_request", "/priority"),
    ("true for a number", job_request(priority=True), "invalid_request", "/priority"),
    ("a fraction for a whole number", job_request(priority=5.5), "invalid_request", "/priority"),
    ("a number out of range", job_request(priority=10), "invalid_request", "/priority"),
    ("an unknown lane", job_request(lane="prewarm"), "invalid_request", "/lane"),
    ("an unknown operation", {**job_request(), "endpoint": "/v1/../../etc/passwd"}, "invalid_request", "/endpoint"),
    ("no operation", {"body": {}}, "invalid_request", "/endpoint"),
    ("no body", {"endpoint": CHAT}, "invalid_request", "/body"),
    ("a body that is a list", {"endpoint": CHAT, "body": []}, "invalid_request", "/body"),
    ("no model", operation(CHAT, messages=[{"role": "user", "content": "a"}]), "invalid_request", "/body/model"),
    ("a model that is a number", with_body(model=1), "invalid_request", "/body/model"),
    ("an unknown model", with_body(model="gpt-none"), "unknown_model", "/body/model"),
    ("a model with SQL", with_body(model="'; DROP TABLE jobs; --"), "unknown_model", "/body/model"),
    ("a model with a template", with_body(model="{{7*7}}"), "unknown_model", "/body/model"),
    ("a model that does not serve the operation", with_body(model="sim/embed"), "unsupported_endpoint", "/endpoint"),
    ("no messages", with_body(messages=[]), "invalid_request", "/body/messages"),
    ("messages that are a text", with_body(messages="hi"), "invalid_request", "/body/messages"),
    ("a message without a role", with_body(messages=[{"content": "a"}]), "invalid_request", ROLE),
    ("a message with an unknown role", with_body(messages=[{"role": "root", "content": "a"}]), "invalid_request", ROLE),
    ("content that is a number", said(1), "invalid_request", CONTENT),
    ("content parts without a type", said([{"text": "a"}]), "invalid_request", CONTENT),
    ("an empty prompt", said(""), "invalid_request", "/body"),
    ("a prompt of spaces", said(" \n\t\u00a0\u3000"), "invalid_request", "/body"),
    ("a prompt of zero-width characters", said("\u200b\u200d\ufeff\u2060"), "invalid_request", "/body"),
    ("a prompt of control characters", said("\x01\x1b\x7f"), "invalid_request", "/body"),
    ("a prompt of millions of characters", said("a" * 9_000_000), "invalid_request", CONTENT),
    ("max_tokens 0", with_body(max_tokens=0), "invalid_request", "/body/max_tokens"),
    ("max_tokens -1", with_body(max_tokens=-1), "invalid_request", "/body/max_tokens"),
    ("max_tokens of a billion", with_body(max_tokens=10**9), "invalid_request", "/body/max_tokens"),
    ("a temperature beyond 2", with_body(temperature=2.1), "invalid_request", "/body/temperature"),
    ("a temperature that is a text", with_body(temperature="1"), "invalid_request", "/body/temperature"),
    ("10,000 stop texts", with_body(stop=["a"] * 10_000), "invalid_request", "/body/stop"),
    ("embeddings without input", operation(EMBED, model="sim/embed"), "invalid_request", "/body/input"),
    ("embeddings of nothing", operation(EMBED, model="sim/embed", input=[]), "invalid_request", "/body/input"),
    ("embeddings of an empty text", operation(EMBED, model="sim/embed", input=["a", ""]), "invalid_request", "/body/input"),
    ("embeddings of too many texts", operation(EMBED, model="sim/embed", input=["a"] * 2049), "invalid_request", "/body/input"),
    ("embeddings of an object", operation(EMBED, model="sim/embed", input={}), "invalid_request", "/body/input"),
    ("reranking without documents", operation(RERANK, model="sim/rerank", query="a", documents=[]), "invalid_request", DOCS),
    ("reranking without a query", operation(RERANK, model="sim/rerank", query=" ", documents=["a"]), "invalid_request", QUERY),
    ("embeddings as a stream", operation(EMBED, model="sim/embed", input="a", stream=True), "invalid_request", "/body/stream"),
    (
        "reranking as a stream",
        operation(RERANK, model="sim/rerank", query="a", documents=["a"], stream=True),
        "invalid_request",
        "/body/stream",
    ),
    (
        "moderation as a stream",
        operation("/v1/moderations", model="sim/moderate", input="a", stream=True),
        "invalid_request",
        "/body/stream",
    ),
    ("run_at in the year 9999", job_request(run_at="9999-12-31T23:59:59Z"), "invalid_request", "/run_at"),
    ("run_at in 1970", job_request(run_at="1970-01-01T00:00:00Z"), "invalid_request", "/run_at"),
    ("run_at without a zone", job_request(run_at="2026-11-20T08:00:00"), "invalid_request", "/run_at"),
    ("run_at in a leap second", job_request(run_at="2026-12-31T23:59:60Z"), "invalid_request", "/run_at"),
    ("run_at on 30 February", job_request(run_at="2027-02-30T00:00:00Z"), "invalid_request", "/run_at"),
    ("run_at as a number", job_request(run_at=1790000000), "invalid_request", "/run_at"),
    ("run_at at the edge of time", job_request(run_at="0001-01-01T00:00:00+23:59"), "invalid_request", "/run_at"),
    ("both run_at and delay_s", job_request(run_at="2999-01-01T00:00:00Z", delay_s=1), "invalid_request", "/delay_s"),
    ("a delay of 31 days", job_request(delay_s=31 * 86_400), "invalid_request", "/delay_s"),
    ("a negative delay", job_request(delay_s=-1), "invalid_request", "/delay_s"),
    ("an expiry before the start", job_request(delay_s=100, expires_in_s=50), "invalid_request", "/expires_in_s"),
    ("an expiry of 0", job_request(expires_in_s=0), "invalid_request", "/expires_in_s"),
    ("a timeout of 0", job_request(timeout_s=0), "invalid_request", "/timeout_s"),
    ("a negative timeout", job_request(timeout_s=-5), "invalid_request", "/timeout_s"),
    ("a timeout of two hours", job_request(timeout_s=7200), "invalid_request", "/timeout_s"),
    ("0 attempts", job_request(max_attempts=0), "invalid_request", "/max_attempts"),
    ("17 labels", job_request(metadata={str(n): "" for n in range(17)}), "invalid_request", "/metadata"),
    ("1,000 labels", job_request(metadata={str(n): "" for n in range(1000)}), "invalid_request", "/metadata"),
    ("a label of a megabyte", job_request(metadata={"a": "x" * 2**20}), "invalid_request", "/metadata"),
    ("a label named __proto__", job_request(metadata={"__proto__": "x"}), "invalid_request", "/metadata"),
    ("a label named $ne", job_request(metadata={"$ne": "x"}), "invalid_request", "/metadata"),
    ("a label that is an object", job_request(metadata={"a": {"b": "c"}}), "invalid_request", "/metadata/a"),
    ("an unknown webhook event", job_request(webhook=BORN), "invalid_request", FIRST_EVENT),
    ("a webhook with headers of its own", job_request(webhook=OWN_HEADERS), "invalid_request", HEADERS),
    ("a webhook without a URL", job_request(webhook={}), "invalid_request", "/webhook/url"),
    ("a webhook URL of 3 kB", job_request(webhook={"url": HOOK + "x" * 3000}), "invalid_request", "/webhook/url"),
    ("a concurrency key without a limit", job_request(concurrency_key="a"), "invalid_request", "/concurrency_limit"),
    ("a concurrency limit without a key", job_request(concurrency_limit=1), "invalid_request", "/concurrency_key"),
    ("an empty concurrency key", job_request(concurrency_key="", concurrency_limit=1), "invalid_request", CONCURRENCY_KEY),
    ("a long concurrency key", job_request(concurrency_key="x" * 256, concurrency_limit=1), "invalid_request", CONCURRENCY_KEY),
    ("a concurrency limit of 0", job_request(concurrency_key="a", concurrency_limit=0), "invalid_request", LIMIT),
    ("a concurrency limit of 10,001", job_request(concurrency_key="a", concurrency_limit=10_001), "invalid_request", LIMIT),
    ("an unknown cache mode", job_request(cache={"mode": "always"}), "invalid_request", "/cache/mode"),
    *(
        (f"the webhook URL {url}", job_request(webhook={"url": url}), "webhook_url_refused", "/webhook/url")
        for url in (
            "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "data:text/plain,a",
            "https://", "https://a:b@example.com/", "https://example.com/#a", "https://example.com:22/",
            "https://example.com:6379/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f.1/",
            "https://0177.0.0.1/", "https://0/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
            "https://169.254.169.254/latest", "https://localhost./", "https://\uff11\uff12\uff17.0.0.1/",
        )
    ),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusing(
    module_database_url: str, redis_server: EmbeddedRedis, secret_key: str
) -> AsyncIterator[tuple[Api, Caller, AsyncEngine]]:
    """An API that is shared by requests of which none may leave a row."""
    settings = Settings(
        database_url=module_database_url,
        redis_url=redis_server.url,
        broker_url=redis_server.broker_url,
        secret_key=SecretStr(secret_key),
    )
    owner = connect(settings, None, pool_size=2, name="test-owner")
    async with running_api(settings, owner) as api:
        yield api, await api.caller(), owner
    await owner.dispose()


async def rows_in(owner: AsyncEngine) -> int:
    async with owner.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM jobs"))).scalar_one())


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("request_body", "code", "pointer"), [row[1:] for row in ROWS], ids=[row[0][:60] for row in ROWS]
)
async def test_a_bad_job_request_is_422_and_names_its_fault(
    refusing: tuple[Api, Caller, AsyncEngine], request_body: Any, code: str, pointer: str
) -> None:
    _, caller, owner = refusing
    answer = await caller.http.post("/v1/jobs", json=request_body)
    told = answer.json()
    assert (answer.status_code, told["error"]["code"]) == (422, code), told
    assert pointer in [fault["pointer"] for fault in told["errors"]], told["errors"]
    assert await rows_in(owner) == 0


async def test_only_from_the_cache_is_409_while_there_is_none(caller: Caller, store: Store) -> None:
    told = await caller.post("/v1/jobs", 409, job_request(cache={"mode": "only"}))
    assert told["error"]["code"] == "cache_miss"
    assert await store.statuses() == {}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "header",
    [
        "idempotency-key:\r\n",
        'idempotency-key: ""\r\n',
        "idempotency-key: " + "k" * 256 + "\r\n",
        "idempotency-key: " + "k" * 10_000 + "\r\n",
        "idempotency-key: sch\u00f6n\r\n",
        "idempotency-key: a\tb\r\n",
        "idempotency-key: a\r\nidempotency-key: b\r\n",
    ],
    ids=["empty", "empty in quotes", "256 characters", "10 kB", "outside ASCII", "with a tab", "twice"],
)
async def test_an_odd_idempotency_key_is_400(refusing: tuple[Api, Caller, AsyncEngine], header: str) -> None:
    api, caller, owner = refusing
    body = json.dumps(job_request()).encode()
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{header}\r\n"
    )
    answer = await exchange(api.port, head.encode("latin-1") + body)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_header")
    assert await rows_in(owner) == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=1000000000", "limit=101", "limit=ten", "limit=", "limit=%D9%A1", "after=x", "after=job_x",
        "after=grp_01h455vb4pex5vsknk084sn02q", "status=done", "lane=fast",
        "endpoint=/v1/x", "group_id=1", "created_after=yesterday", "created_before=2026-02-30T00:00:00Z", "sort=password",
        "offset=1000000000000", "metadata=a", "metadata[a]=%00", "status=queued&status=failed",
    ],
)  # fmt: skip
async def test_an_odd_list_query_is_422(refusing: tuple[Api, Caller, AsyncEngine], query: str) -> None:
    answer = await refusing[1].http.get("/v1/jobs?" + query)
    assert answer.status_code == 422, answer.text
    told = answer.json()
    (fault,) = told["errors"]
    assert fault["pointer"] == "/" + told["error"]["param"] == "/" + query.partition("=")[0]
    assert fault["detail"] == told["detail"]


WORDINGS = [
    (with_body(messages=[]), "/body/messages", "Must not be empty."),
    ({"endpoint": CHAT, "body": []}, "/body", "Must be a JSON object."),
    ({"endpoint": CHAT}, "/body", "Must be given."),
    (job_request(tenant_id=1), "/tenant_id", "Unknown field."),
    (job_request(priority=10), "/priority", "Must be at most 9."),
    (job_request(priority=1.5), "/priority", "Must be a whole number."),
    (job_request(lane="x"), "/lane", "Must be 'interactive', 'default' or 'bulk'."),
    (job_request(webhook=1), "/webhook", "Must be a JSON object."),
    (job_request(webhook={"url": ""}), "/webhook/url", "Must not be empty."),
    (with_body(messages=[1]), "/body/messages/0", "Must be a JSON object."),
    (with_body(model="x" * 201), "/body/model", "May have at most 200 characters."),
    (
        job_request(webhook={"url": "https://127.0.0.1/"}),
        "/webhook/url",
        "The URL is refused: it points to a loopback address.",
    ),
    (
        job_request(webhook={"url": "https://metadata/"}),
        "/webhook/url",
        "The URL is refused: host names without a dot are refused.",
    ),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("request_body", "pointer", "detail"), WORDINGS, ids=[row[1] + row[2] for row in WORDINGS])
async def test_faults_are_told_in_one_human_sentence(
    refusing: tuple[Api, Caller, AsyncEngine], request_body: Any, pointer: str, detail: str
) -> None:
    told = await refusing[1].post("/v1/jobs", 422, request_body)
    assert told["errors"] == [{"pointer": pointer, "detail": detail}]
    assert told["detail"].lower().endswith(detail.lower())


@pytest.mark.parametrize("wait", ["-1", "1.5", "x", "", "0x10"])
async def test_an_odd_wait_is_422(caller: Caller, wait: str) -> None:
    job = await caller.submit()
    await caller.get(f"/v1/jobs/{job['id']}", 422, wait=wait)


async def test_an_absurd_wait_is_cut_to_a_minute(caller: Caller) -> None:
    job = await caller.submit()
    await caller.post(f"/v1/jobs/{job['id']}/cancel")
    for wait in ("9999999999", "9" * 4000, "0" * 3000 + "7"):
        assert (await caller.get(f"/v1/jobs/{job['id']}", wait=wait))["status"] == "cancelled"
    again = job_request(metadata={"a": "b"})
    for asked, applied in (("9999999999999", "wait=60"), ("9" * 5000, "wait=60"), ("000", "wait=0")):
        call = asyncio.create_task(caller.http.post("/v1/jobs", json=again, headers={"prefer": f"wait={asked}"}))
        await end_all(caller, call)
        assert (await call).headers["preference-applied"] == applied


async def end_all(caller: Caller, waiting: "asyncio.Task[Any]") -> None:
    """Cancel queued jobs until the call that waits for one is answered."""
    while not waiting.done():
        for job in (await caller.get("/v1/jobs", status="queued"))["data"]:
            await caller.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.mark.parametrize("after", ["-1", "x", "99999999999", "1.0", "\u0661"])
async def test_an_odd_event_number_is_refused(caller: Caller, after: str) -> None:
    job = await caller.submit()
    await caller.get(f"/v1/jobs/{job['id']}/events", 422, after=after)


async def test_odd_conditions_and_ranges_are_ignored(caller: Caller) -> None:
    job = await caller.submit()
    odd = {
        "if-match": '"x"',
        "range": "bytes=0-1",
        "accept": "image/png",
        "accept-encoding": "gzip," * 2000,
        "if-none-match": '"a", ,',
    }
    answer = await caller.http.get(f"/v1/jobs/{job['id']}", headers=odd)
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
