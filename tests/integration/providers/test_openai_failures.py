"""The `openai` provider when the upstream fails, lies, hangs or is left alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.integration.providers.conftest import KEY
from tests.support.simulator import RunningSimulator
from workers.providers.openai import OpenAIProvider
from workers.providers.protocol import ProviderError

Ask = Callable[..., dict[str, Any]]


async def failure(awaitable: Awaitable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "retryable", "wait"),
    [
        ({"status": 429, "retry_after": 7}, "rate_limited", True, 7),
        ({"status": 429, "retry_after_ms": 250}, "rate_limited", True, 0.25),
        ({"status": 429, "retry_after": 10**9}, "rate_limited", True, 600),
        ({"status": 500}, "upstream_error", True, None),
        ({"status": 503, "retry_after": 1}, "upstream_error", True, 1),
        ({"status": 400, "code": "context_length_exceeded"}, "context_length_exceeded", False, None),
        ({"status": 400, "code": "content_filter"}, "content_refused", False, None),
        ({"status": 401}, "unauthorized", False, None),
        ({"status": 422}, "invalid_request", False, None),
        ({"status": 307}, "upstream_error", False, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_error_statuses_are_told_apart(
    call: Any, ask: Ask, error: dict[str, Any], code: str, retryable: bool, wait: float | None, stream: bool
) -> None:
    found = await failure(call(ask(sim={"error": error}), stream=stream))
    assert (found.code, found.retryable, found.retry_after_s) == (code, retryable, wait)
    assert found.upstream_status == error["status"]


async def test_an_upstream_that_repeats_our_key_does_not_leak_it(call: Any, ask: Ask) -> None:
    body = ask(sim={"error": {"status": 401, "leak": True, "message": f"bad key {KEY}"}})
    found = await failure(call(body, api_key_env="TEST_KEY"))
    assert KEY not in found.message and "[key]" in found.message
    assert KEY not in repr(found)


async def test_a_key_that_is_not_set_is_told_without_asking_the_upstream(
    call: Any, ask: Ask, simulator: RunningSimulator
) -> None:
    found = await failure(call(ask(), api_key_env="ABSENT_KEY"))
    assert (found.code, found.retryable) == ("unauthorized", False)
    assert "ABSENT_KEY" in found.message
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize(
    "malformed",
    [
        "html", "empty", "bad_json", "wrong_shape", "deep", "nan", "bad_utf8",
        "truncated", "truncated_chunks", "reset", "not_http", "gzip",
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_a_malformed_reply_is_a_bad_reply_worth_another_try(
    call: Any, ask: Ask, malformed: str, stream: bool
) -> None:
    found = await failure(call(ask(sim={"malformed": malformed, "bytes": 4_000_000}), stream=stream))
    assert (found.code, found.retryable) == ("bad_reply", True)


@pytest.mark.parametrize(
    ("malformed", "code"),
    [("stream_error", "upstream_error"), ("stream_cut", "bad_reply"), ("half_close", "upstream_unreachable")],
)
async def test_a_stream_that_ends_badly_is_told(call: Any, ask: Ask, malformed: str, code: str) -> None:
    found = await failure(call(ask(sim={"malformed": malformed}), stream=True))
    assert (found.code, found.retryable) == (code, True)


@pytest.mark.parametrize("malformed", ["huge", "gzip"])
async def test_a_reply_beyond_the_limit_is_cut_off(
    call: Any, ask: Ask, simulator: RunningSimulator, malformed: str
) -> None:
    body = ask(sim={"malformed": malformed, "bytes": 40_000_000})
    found = await failure(call(body, max_reply_bytes=50_000))
    assert (found.code, found.retryable) == ("reply_too_large", False)
    await asyncio.to_thread(simulator.wait_for, max_in_flight=0)


@pytest.mark.parametrize(
    ("sim", "limits", "code", "said"),
    [
        (
            {"hang": True},
            {"first_byte_timeout_s": 0.1, "connect_timeout_s": 0.1},
            "upstream_timeout",
            "begin to answer",
        ),
        ({"malformed": "hang_after_headers"}, {"read_timeout_s": 0.1}, "upstream_timeout", "sent nothing"),
        ({"malformed": "stream_hang"}, {"read_timeout_s": 0.1}, "upstream_timeout", "sent nothing"),
        ({"hang": True}, {"timeout_s": 0.2}, "timeout", "limit of 0.2 s"),
        ({"malformed": "slow", "every_ms": 20}, {"timeout_s": 0.3, "read_timeout_s": 0.2}, "timeout", "limit of 0.3 s"),
    ],
)
async def test_each_wait_has_its_limit_and_the_upstream_is_let_go(
    call: Any, ask: Ask, simulator: RunningSimulator, sim: Any, limits: Any, code: str, said: str
) -> None:
    found = await failure(call(ask(sim=sim), stream=True, **limits))
    assert (found.code, found.retryable) == (code, True)
    assert said in found.message
    await asyncio.to_thread(simulator.wait_for, min_cancelled=1, max_in_flight=0)


@pytest.mark.parametrize("sim", [{"hang": True}, {"malformed": "stream_hang"}, {"malformed": "hang_after_headers"}])
async def test_cancelling_the_task_closes_the_upstream_request(
    call: Any, ask: Ask, simulator: RunningSimulator, sim: dict[str, Any]
) -> None:
    task = asyncio.create_task(call(ask(sim=sim), stream=True))
    await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stats = await asyncio.to_thread(simulator.wait_for, min_cancelled=1)
    assert stats["in_flight"] == 0


async def test_cancelling_one_call_leaves_the_others_alone(call: Any, ask: Ask, simulator: RunningSimulator) -> None:
    tasks = [asyncio.create_task(call(ask(sim={"hang": True, "key": str(number)}))) for number in range(20)]
    await asyncio.to_thread(simulator.wait_for, min_in_flight=20)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.to_thread(simulator.wait_for, min_cancelled=10)
    await asyncio.to_thread(simulator.control, release=True)
    assert len(await asyncio.gather(*tasks[1::2])) == 10
    outcomes = {int(seen["key"]): seen["outcome"] for seen in simulator.stats()["last"]}
    assert all(outcomes[number] == ("completed" if number % 2 else "cancelled") for number in range(20))


async def test_closing_the_provider_cuts_off_calls_under_way(ask: Ask, call: Any, simulator: RunningSimulator) -> None:
    task = asyncio.create_task(call(ask(sim={"hang": True})))
    await asyncio.to_thread(simulator.wait_for, min_in_flight=1)
    await call.provider.aclose()
    found = await failure(task)
    assert found.code == "upstream_unreachable"
    await asyncio.to_thread(simulator.wait_for, min_cancelled=1)


@pytest.mark.parametrize(
    ("base_url", "said"),
    [("http://127.0.0.1:9/v1", "refused"), ("http://nowhere.invalid/v1", "cannot be resolved")],
)
async def test_an_upstream_that_is_not_there_is_unreachable_and_its_address_is_not_told(
    call: Any, ask: Ask, base_url: str, said: str
) -> None:
    found = await failure(call(ask(), base_url=base_url))
    assert (found.code, found.retryable) == ("upstream_unreachable", True)
    assert said in found.message
    assert "127.0.0.1" not in found.message and "nowhere" not in found.message


async def test_plain_http_where_tls_was_expected_is_unreachable(
    call: Any, ask: Ask, simulator: RunningSimulator
) -> None:
    found = await failure(call(ask(), base_url=simulator.url.replace("http:", "https:") + "/v1"))
    assert (found.code, found.retryable) == ("upstream_unreachable", True)
    assert "TLS" in found.message


async def test_an_error_that_heals_is_gone_on_the_next_call(call: Any, ask: Ask) -> None:
    body = ask(sim={"key": "heals", "error": {"status": 503, "times": 2}})
    codes = [(await failure(call(body))).code for _ in range(2)]
    assert codes == ["upstream_error"] * 2
    assert (await call(body)).body["choices"]


@pytest.mark.parametrize(
    "odd",
    [
        b"content-type: text/html\r\ncontent-length: 4\r\n\r\n<p>x",
        b"content-encoding: br\r\ncontent-length: 1\r\n\r\nx",
        b"content-length: 100000\r\n\r\n" + b"x" * 100_000,
        b"content-length: 100\r\n\r\n{",
    ],
)
async def test_a_status_counts_whatever_is_wrong_with_its_body(call: Any, ask: Ask, odd: bytes) -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read_request(reader)
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nretry-after: 4\r\n" + odd)
        writer.close()

    server = await asyncio.start_server(refuses, "127.0.0.1", 0)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        found = await failure(call(ask(), base_url=base_url))
    assert (found.code, found.retryable, found.retry_after_s, found.upstream_status) == ("upstream_error", True, 4, 502)


async def test_a_body_that_is_not_json_is_the_callers_mistake(call: Any, ask: Ask) -> None:
    found = await failure(call(ask(seed=2**70)))
    assert (found.code, found.retryable) == ("invalid_request", False)


async def test_a_cancelled_call_stops_sending_a_large_body(call: Any, ask: Ask) -> None:
    began, cancelled, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    heads, arrived = [], 0

    async def stops_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        began.set()
        await cancelled.wait()
        while piece := await reader.read(1_000_000):
            arrived += len(piece)
        writer.close()
        ended.set()

    server = await asyncio.start_server(stops_reading, "127.0.0.1", 0)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        task = asyncio.create_task(call(ask(prompt="x" * 40_000_000), base_url=base_url))
        await asyncio.wait_for(began.wait(), 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        cancelled.set()
        await asyncio.wait_for(ended.wait(), 20)
    assert b"content-length: 400000" in heads[0].lower()
    assert arrived < 40_000_000


ANSWER = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}'


async def test_a_connection_that_the_server_closed_while_idle_is_replaced_without_an_error(
    provider: OpenAIProvider, call: Any, ask: Ask
) -> None:
    requests = 0

    async def closes_on_its_second_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += await _read_request(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER
        )
        requests += await _read_request(reader)
        writer.close()

    server = await asyncio.start_server(closes_on_its_second_request, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        for _ in range(2):
            assert (await call(ask(), base_url=base_url)).body["choices"][0]["message"]["content"] == "ok"
        await provider.aclose()
    assert requests == 3


async def _read_request(reader: asyncio.StreamReader) -> int:
    """Read one request; how many there were."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return 0
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return 1
