"""The bad-input catalogue at the edge: exact bytes in, the named status out, and the process lives."""

import asyncio
import json

import pytest

from api.edge.body import size
from tests.integration.api.conftest import READER_TOKEN, SLOW_TOKEN, STRICT_TOKEN, TOKEN
from tests.support.raw_http import RawAnswer, RunningApp, exchange, read_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = f"authorization: Bearer {TOKEN}\r\n"
JSON = "content-type: application/json\r\n"


def post(body: bytes = b"{}", headers: str = AUTH + JSON, host: str = "host: x\r\n", path: str = "/v1/jobs") -> bytes:
    return f"POST {path} HTTP/1.1\r\n{host}{headers}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body


def get(path: str = "/v1/jobs", headers: str = "", host: str = "host: x\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{host}{headers}\r\n".encode("latin-1")


def head(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


ROWS = [
    ("an empty body is 400", post(b""), 400, "invalid_json"),
    ("a truncated body is 400", post(b'{"a":'), 400, "invalid_json"),
    ("a top-level array is 422", post(b"[]"), 422, "invalid_request"),
    ("a top-level null is 422", post(b"null"), 422, "invalid_request"),
    ("a top-level string is 422", post(b'"a"'), 422, "invalid_request"),
    ("a top-level number is 422", post(b"1"), 422, "invalid_request"),
    ("text/plain is 415", post(headers=AUTH + "content-type: text/plain\r\n"), 415, "unsupported_media_type"),
    (
        "a form is 415",
        post(headers=AUTH + "content-type: application/x-www-form-urlencoded\r\n"),
        415,
        "unsupported_media_type",
    ),
    (
        "multipart is 415",
        post(headers=AUTH + "content-type: multipart/form-data; boundary=x\r\n"),
        415,
        "unsupported_media_type",
    ),
    ("no content type is 415", post(headers=AUTH), 415, "unsupported_media_type"),
    (
        "another charset is 415",
        post(headers=AUTH + "content-type: application/json; charset=utf-16\r\n"),
        415,
        "unsupported_media_type",
    ),
    ("a byte order mark is 400", post(b"\xef\xbb\xbf{}"), 400, "invalid_json"),
    ("UTF-16 is 400", post("{}".encode("utf-16")), 400, "invalid_text"),
    ("invalid UTF-8 is 400", post(b'{"a":"\xff"}'), 400, "invalid_text"),
    ("a lone surrogate is 400", post(b'{"a":"\\ud800"}'), 400, "invalid_text"),
    ("NUL is 400", post(b'{"a":"\\u0000"}'), 400, "invalid_text"),
    ("NaN is 400", post(b'{"a":NaN}'), 400, "invalid_number"),
    ("1e999 is 400", post(b'{"a":1e999}'), 400, "invalid_number"),
    ("an integer of 5,000 digits is 400", post(b'{"a":' + b"1" * 5000 + b"}"), 400, "invalid_number"),
    ("an integer beyond 64 bits is 422", post(b'{"a":18446744073709551616}'), 422, "integer_too_large"),
    ("duplicate keys are 400", post(b'{"a":1,"a":2}'), 400, "duplicate_key"),
    ("depth 900 is 400", post(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"), 400, "json_too_deep"),
    ("depth 200,000 is 400", post(b"[" * 200_000), 400, "json_too_deep"),
    ("a body too large by its length is 413", post(b"x" * 1_000_001), 413, "body_too_large"),
    (
        "a length too large is 413 before a byte arrived",
        head(
            f"POST /v1/jobs HTTP/1.1\nhost: x\n{AUTH}{JSON}".replace("\r", "")
            + "content-length: 99999999999999999999\n\n"
        ),
        400,
        "invalid_http",
    ),
    (
        "an announced 30 MB is 413 although nothing follows",
        head(f"POST /v1/jobs HTTP/1.1\nhost: x\n{AUTH}{JSON}".replace("\r", "") + "content-length: 30000000\n\n"),
        413,
        "body_too_large",
    ),
    (
        "a compressed body is 415",
        post(headers=AUTH + JSON + "content-encoding: gzip\r\n"),
        415,
        "unsupported_encoding",
    ),
    (
        "a length larger than the body is 408",
        head(f"POST /v1/jobs HTTP/1.1\nhost: x\n{AUTH}{JSON}".replace("\r", "") + "content-length: 100\n\n") + b"{",
        408,
        "request_timeout",
    ),
    (
        "length and chunks together are 400",
        head("POST /v1/jobs HTTP/1.1\nhost: x\ncontent-length: 2\ntransfer-encoding: chunked\n\n0\n\n"),
        400,
        "invalid_http",
    ),
    (
        "a transfer coding besides chunked is 501",
        head("POST /v1/jobs HTTP/1.1\nhost: x\ntransfer-encoding: gzip, chunked\n\n0\n\n"),
        501,
        "unsupported_transfer_encoding",
    ),
    (
        "two transfer codings are 400",
        head("POST /v1/jobs HTTP/1.1\nhost: x\ntransfer-encoding: gzip\ntransfer-encoding: chunked\n\n0\n\n"),
        400,
        "invalid_header",
    ),
    (
        "two lengths are 400",
        head("POST /v1/jobs HTTP/1.1\nhost: x\ncontent-length: 2\ncontent-length: 3\n\n"),
        400,
        "invalid_http",
    ),
    ("a negative length is 400", head("POST /v1/jobs HTTP/1.1\nhost: x\ncontent-length: -1\n\n"), 400, "invalid_http"),
    ("a bare line feed is 400", b"GET /v1/jobs HTTP/1.1\nhost: x\n\n", 400, "invalid_http"),
    ("no Host is 400", get(host=""), 400, "invalid_host"),
    ("two Hosts are 400", get(host="host: x\r\nhost: y\r\n"), 400, "invalid_host"),
    ("an empty Host is 400", get(host="host: \r\n"), 400, "invalid_host"),
    ("a Host with a slash is 400", get(host="host: x/v1\r\n"), 400, "invalid_host"),
    ("a Host with a question mark is 400", get(host="host: x?y\r\n"), 400, "invalid_host"),
    ("a Host with an at sign is 400", get(host="host: a@b\r\n"), 400, "invalid_host"),
    ("a Host with a hash is 400", get(host="host: a#b\r\n"), 400, "invalid_host"),
    ("a 20 kB header is 431", get(headers="x-a: " + "a" * 20_000 + "\r\n"), 431, "headers_too_large"),
    ("a 100 kB header is 431", get(headers="x-a: " + "a" * 100_000 + "\r\n"), 431, "headers_too_large"),
    ("2,000 headers are 431", get(headers="a: b\r\n" * 2000), 431, "headers_too_large"),
    ("101 headers are 431", get(headers="a: b\r\n" * 100), 431, "headers_too_large"),
    ("a 5 kB URL is 414", get("/v1/jobs?" + "a" * 5000), 414, "url_too_long"),
    ("a 100 kB URL is 414", get("/" + "a" * 100_000), 414, "url_too_long"),
    ("an unknown method is 400", head("BREW /v1/jobs HTTP/1.1\nhost: x\n\n"), 400, "invalid_http"),
    ("TRACE is 405", head("TRACE /v1/jobs HTTP/1.1\nhost: x\n\n"), 405, "method_not_allowed"),
    ("CONNECT is 400", head("CONNECT x:443 HTTP/1.1\nhost: x\n\n"), 400, "invalid_http"),
    ("the preface of HTTP/2 is 400", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_http"),
    ("the start of TLS is 400", bytes.fromhex("16030100c8010000c40303"), 400, "invalid_http"),
    ("an absolute target is 400", get("http://evil.example/v1/jobs"), 400, "invalid_http"),
    ("a target without a slash is 400", get("@host"), 400, "invalid_http"),
    ("OPTIONS of everything is 400", head("OPTIONS * HTTP/1.1\nhost: x\n\n"), 400, "invalid_http"),
    (
        "PUT on a collection is 405",
        head("PUT /v1/jobs HTTP/1.1\nhost: x\ncontent-length: 0\n\n"),
        405,
        "method_not_allowed",
    ),
    ("a trailing slash is 404", post(path="/v1/jobs/"), 404, "not_found"),
    ("a double slash is 404", post(path="/v1//jobs"), 404, "not_found"),
    ("dots in the path are 404", get("/v1/../v1/jobs"), 404, "not_found"),
    ("encoded dots are 404", get("/v1/x/%2e%2e/jobs"), 404, "not_found"),
    ("an encoded NUL is 404", get("/v1/jobs%00"), 404, "not_found"),
    ("an encoded slash is 404", post(path="/v1/jobs/a%2fcancel"), 404, "not_found"),
    ("double encoding is 404", post(path="/v1/jobs/%252e/cancel"), 404, "not_found"),
    ("no Authorization is 401", post(headers=JSON), 401, "unauthorized"),
    ("another scheme is 401", post(headers=JSON + "authorization: Basic YTpi\r\n"), 401, "unauthorized"),
    ("an empty Authorization is 401", post(headers=JSON + "authorization:\r\n"), 401, "unauthorized"),
    (
        "a token of 10 kB is 401",
        post(headers=JSON + "authorization: Bearer cc_" + "a" * 10_000 + "\r\n"),
        401,
        "unauthorized",
    ),
    (
        "a token outside ASCII is 401",
        post(headers=JSON + "authorization: Bearer cc_\xe9" + "a" * 40 + "\r\n"),
        401,
        "unauthorized",
    ),
    (
        "an unknown key is 401",
        post(headers=JSON + "authorization: Bearer cc_" + "z" * 40 + "\r\n"),
        401,
        "unauthorized",
    ),
    ("a key in the query is 401", post(headers=JSON, path=f"/v1/jobs?key={TOKEN}"), 401, "unauthorized"),
    ("two Authorizations are 400", post(headers=AUTH + AUTH + JSON), 400, "invalid_header"),
    ("a missing scope is 403", post(headers=JSON + f"authorization: Bearer {READER_TOKEN}\r\n"), 403, "missing_scope"),
    ("an unknown query parameter is 422", get("/v1/jobs?sort=password"), 422, "invalid_request"),
    ("a repeated query parameter is 422", get("/v1/jobs?limit=1&limit=2"), 422, "invalid_request"),
    ("an exception is 500 and tells nothing", get("/fail"), 500, "internal"),
    ("an unreachable database is 503", get("/outage"), 503, "unavailable"),
]


def assert_is_a_problem(answer: RawAnswer, status: int, code: str) -> None:
    told = answer.json()
    assert (answer.status, told["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert {"type", "title", "status", "detail", "instance"} <= told.keys()
    assert told["status"] == status
    assert {"message", "type", "param", "code"} == told["error"].keys()
    assert b"secret" not in answer.body


@pytest.mark.parametrize(("raw", "status", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_bad_input_gets_its_status(edge: RunningApp, raw: bytes, status: int, code: str) -> None:
    assert_is_a_problem(await exchange(edge.port, raw), status, code)
    alive = await exchange(edge.port, post())
    assert alive.status == 202


async def test_a_chunked_body_is_cut_off_while_it_streams(edge: RunningApp) -> None:
    start = head(f"POST /v1/jobs HTTP/1.1\nhost: x\n{AUTH}{JSON}".replace("\r", "") + "transfer-encoding: chunked\n\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = await exchange(edge.port, start, *[chunk] * 40)
    assert_is_a_problem(answer, 413, "body_too_large")
    assert answer.closed


async def test_a_client_that_waits_for_100_continue_is_refused_without_it(edge: RunningApp) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(
        head(
            f"POST /v1/jobs HTTP/1.1\nhost: x\n{AUTH}{JSON}".replace("\r", "")
            + "expect: 100-continue\ncontent-length: 9000000\n\n"
        )
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_request_behind_an_unread_body_is_never_run(edge: RunningApp) -> None:
    smuggled = post(headers=AUTH + JSON)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(
        head(f"POST /v1/jobs HTTP/1.1\nhost: x\n{JSON}".replace("\r", "") + f"content-length: {len(smuggled)}\n\n")
        + smuggled
        + smuggled
    )
    answer = await read_answer(reader)
    assert (answer.status, answer.closed) == (401, True)
    assert await reader.read() == b""
    writer.close()


async def test_bytes_that_trickle_into_a_body_run_out_of_time(edge: RunningApp) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(head(f"POST /v1/jobs HTTP/1.1\nhost: x\n{AUTH}{JSON}".replace("\r", "") + "content-length: 1000\n\n"))

    async def trickle() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.1)

    task = asyncio.create_task(trickle())
    answer = await asyncio.wait_for(read_answer(reader), 20)
    task.cancel()
    assert_is_a_problem(answer, 408, "request_timeout")
    writer.close()


async def test_405_names_all_methods_of_the_path(edge: RunningApp) -> None:
    answer = await exchange(edge.port, head("DELETE /v1/jobs HTTP/1.1\nhost: x\n\n"))
    assert answer.headers["allow"] == "GET, HEAD, POST"


HEADS = [("/v1/jobs", 200), ("/nowhere", 404), ("/v1/jobs?sort=x", 422), ("/fail", 500), ("/outage", 503)]


@pytest.mark.parametrize(("path", "status"), HEADS)
async def test_head_is_answered_like_get_without_the_body_and_the_connection_goes_on(
    edge: RunningApp, path: str, status: int
) -> None:
    got = await exchange(edge.port, get(path))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"HEAD" + get(path)[3:])
    answer = await asyncio.wait_for(read_answer(reader, head_only=True), 20)
    writer.write(get("/v1/jobs"))
    after = await asyncio.wait_for(read_answer(reader), 20)
    writer.close()
    assert answer.status == got.status == status
    varying = {"date", "x-request-id", "content-length"}
    assert {**answer.headers, **dict.fromkeys(varying)} == {**got.headers, **dict.fromkeys(varying)}
    # A problem quotes the request's id, which has always the same length.
    assert answer.headers["content-length"] == got.headers["content-length"]
    assert (after.status, after.json()) == (200, {"query": {}})


async def test_head_where_there_is_no_get_is_405(edge: RunningApp) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"HEAD /v1/jobs/1/cancel HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await asyncio.wait_for(read_answer(reader, head_only=True), 20)
    writer.close()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_401_asks_for_a_bearer_token_and_looks_alike_for_all_keys(edge: RunningApp) -> None:
    unknown = await exchange(edge.port, post(headers=JSON + "authorization: Bearer cc_" + "z" * 40 + "\r\n"))
    missing = await exchange(edge.port, post(headers=JSON))
    assert unknown.headers["www-authenticate"].startswith("Bearer")
    assert unknown.json()["error"] == missing.json()["error"]


async def test_503_tells_when_to_come_back(edge: RunningApp) -> None:
    answer = await exchange(edge.port, get("/outage"))
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["retry-after-ms"] == "1000"
    for kind in ("requests", "tokens"):
        assert {answer.headers[f"x-ratelimit-{what}-{kind}"] for what in ("limit", "remaining")} == {str(2**53 - 1)}
        assert answer.headers[f"x-ratelimit-reset-{kind}"] == "0s"


async def test_503_tells_the_allowance_of_a_key_that_has_one(edge: RunningApp) -> None:
    outage = get("/limited-outage", headers=f"authorization: Bearer {STRICT_TOKEN}\r\n")
    answer = await exchange(edge.port, outage)
    assert answer.status == 503
    assert answer.headers["x-ratelimit-limit-requests"] == "7"
    assert answer.headers["x-ratelimit-remaining-requests"] == "6"


async def test_a_wrong_key_is_told_in_words_that_fit_a_missing_one_too(edge: RunningApp) -> None:
    told = (await exchange(edge.port, post(headers=JSON))).json()
    assert told["detail"] == "The API key is missing or not valid: send it as 'Authorization: Bearer cc_…'."


async def test_a_query_parameter_at_fault_is_pointed_at(edge: RunningApp) -> None:
    told = (await exchange(edge.port, get("/v1/jobs?so/rt=x"))).json()
    assert told["errors"] == [{"pointer": "/so~1rt", "detail": "Unknown query parameter 'so/rt'."}]


async def test_limits_of_size_are_told_for_people(edge: RunningApp) -> None:
    told = (await exchange(edge.port, post(b"x" * 1_000_001))).json()
    assert told["detail"] == "The body may have at most 1,000,000 bytes."
    assert size(10 * 2**20) == "10 MB"


async def test_a_sane_request_id_comes_back_and_an_odd_one_is_replaced(edge: RunningApp) -> None:
    kept = await exchange(edge.port, get(headers="x-request-id: my-id.1_2\r\n"))
    odd = await exchange(edge.port, get(headers="x-request-id: a b\r\n"))
    assert kept.headers["x-request-id"] == "my-id.1_2"
    assert odd.headers["x-request-id"].startswith("req_")


async def test_the_callers_trace_goes_on_and_a_broken_one_starts_anew(edge: RunningApp) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    known = await exchange(edge.port, post(headers=AUTH + JSON + f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n"))
    broken = await exchange(
        edge.port, post(headers=AUTH + JSON + f"traceparent: 00-{'0' * 32}-00f067aa0ba902b7-01\r\n")
    )
    version, trace_id, span, flags = known.json()["trace"].split("-")
    assert (version, trace_id, flags) == ("00", trace, "01")
    assert span != "00f067aa0ba902b7"
    assert broken.json()["trace"].split("-")[1] not in {trace, "0" * 32}


async def test_a_limited_key_is_told_its_allowance_and_then_429(edge: RunningApp) -> None:
    request = post(headers=JSON + f"authorization: Bearer {SLOW_TOKEN}\r\n")
    first = await exchange(edge.port, request)
    await exchange(edge.port, request)
    third = await exchange(edge.port, request)
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (202, "1")
    assert_is_a_problem(third, 429, "rate_limited")
    assert 0 < int(third.headers["retry-after-ms"]) <= 120_000
    assert 0 < int(third.headers["retry-after"]) <= 120
    for kind in ("requests", "tokens"):
        assert {f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset")} <= third.headers.keys()


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(edge: RunningApp) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(post(json.dumps({"a": "b" * 1000}).encode())[:-500])
    await writer.drain()
    writer.close()
    assert (await exchange(edge.port, post())).status == 202


async def test_pipelined_requests_are_answered_in_order(edge: RunningApp) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(post(b'{"n":1}') + post(b'{"n":2}') + get("/nowhere"))
    answers = [await read_answer(reader) for _ in range(3)]
    assert [answer.status for answer in answers] == [202, 202, 404]
    assert [answer.json()["took"]["n"] for answer in answers[:2]] == [1, 2]
    writer.close()


async def test_nonsense_behind_a_request_is_not_taken_for_its_answer(edge: RunningApp) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(post(b'{"n":1}') + post(b'{"n":2}') + b"nonsense\r\n\r\n")
    answers = [await read_answer(reader) for _ in range(2)]
    assert [(answer.status, answer.json()["took"]["n"]) for answer in answers] == [(202, 1), (202, 2)]
    assert answers[-1].closed
    assert await reader.read() == b""
    writer.close()
