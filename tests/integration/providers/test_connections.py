"""Upstream connections: kept, warmed, counted, over HTTP/1.1 and HTTP/2."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvloop
from aiohttp import web

from policies.catalog import Deployment
from tests.integration.providers.http2_server import Http2Server, certificate, server_tls
from tests.integration.providers.replay import ReplayServer
from tests.support.raw_http import until
from tests.support.simulator import RunningSimulator
from workers.providers import http2_connection
from workers.providers.openai import OpenAIProvider
from workers.providers.protocol import Call, ConnectionCounts, ProviderError, Reply
from workers.providers.transport import ConnectTrace, PooledTransport, prepare_socket

CHAT = "/v1/chat/completions"
CANCEL = 8


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def provider(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIProvider]:
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    provider = OpenAIProvider(environment={"TEST_KEY": "sk-test"})
    yield provider
    await provider.aclose()


@pytest.fixture
async def server(files: tuple[Path, Path]) -> AsyncIterator[Http2Server]:
    async with Http2Server(files) as server:
        yield server


def deployment(url: str, **changes: Any) -> Deployment:
    settings: dict[str, Any] = {"name": "d", "model": "m", "provider": "openai", "base_url": url, "http2": True}
    return Deployment(**{**settings, **changes})


async def ask(provider: OpenAIProvider, url: str, prompt: str = "hello", job: str = "j", **changes: Any) -> Reply:
    body = {"messages": [{"role": "user", "content": prompt}]}
    call = Call(deployment(url, **changes), CHAT, body, False, 20, {"x-coatcheck-job-id": job})
    return await provider.call(call, None)


async def test_many_calls_share_one_connection(provider: OpenAIProvider, server: Http2Server) -> None:
    replies = await asyncio.gather(*(ask(provider, server.url) for _ in range(50)))
    assert {reply.body["choices"][0]["message"]["content"] for reply in replies} == {"heard 5"}
    assert len(server.connections) == 1
    assert provider.connections() == {"d": ConnectionCounts(opened=1, reused=49)}
    assert replies[0].limits is not None and replies[0].limits.requests is not None


async def test_the_number_of_connections_follows_the_calls(provider: OpenAIProvider, files: tuple[Path, Path]) -> None:
    async with Http2Server(files, streams=10) as server:
        tasks = [asyncio.create_task(ask(provider, server.url, "please hang")) for _ in range(25)]
        await until(lambda: len(server.prompts) == 25)
        assert len(server.connections) == 3
        for task in tasks:
            task.cancel()
        await until(lambda: len(server.resets) == 25)


async def test_a_cancelled_call_is_ended_upstream_and_its_neighbours_go_on(
    provider: OpenAIProvider, server: Http2Server
) -> None:
    hanging = asyncio.create_task(ask(provider, server.url, "please hang"))
    await until(lambda: server.prompts == ["please hang"])
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    await until(lambda: server.resets == [CANCEL])
    await ask(provider, server.url)
    assert len(server.connections) == 1


async def test_what_closed_streams_left_unread_takes_no_room_from_others(
    provider: OpenAIProvider, server: Http2Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_connection, "_CONNECTION_WINDOW", 1_000_000)
    transport = provider._connections.transport(deployment(server.url))
    content = json.dumps({"messages": [{"role": "user", "content": "please flood"}]}).encode()
    for count in range(1, 9):
        url = httpx.URL(server.url + "/chat/completions")
        response = await transport.send("POST", url, [], content, connect_s=5, trace=ConnectTrace())
        await until(lambda: not server.connections[0].waiting)
        await cast("httpx.AsyncByteStream", response.stream).aclose()
        await until(lambda count=count: len(server.resets) == count)  # type: ignore[misc]
    reply = await ask(provider, server.url, "please big")
    assert len(reply.body["choices"][0]["message"]["content"]) == 3_000_000
    assert len(server.connections) == 1


async def test_pieces_arrive_while_the_server_is_still_writing(provider: OpenAIProvider, server: Http2Server) -> None:
    arrived = asyncio.Event()
    body = {"messages": [{"role": "user", "content": "please stream"}]}
    call = Call(deployment(server.url), CHAT, body, True, 20, {})
    task = asyncio.create_task(provider.call(call, lambda _: arrived.set()))
    await asyncio.wait_for(arrived.wait(), 20)
    assert not task.done()
    server.finish()
    reply = await task
    assert reply.body["choices"][0]["message"]["content"] == "one two"
    assert reply.timing.ttft_ms is not None and reply.timing.itl_ms is not None


async def test_large_requests_wait_for_the_windows_of_the_server(provider: OpenAIProvider, server: Http2Server) -> None:
    prompts = ["y" * size + " end" for size in (2_000_000, 900_000, 70_000)]
    replies = await asyncio.gather(*(ask(provider, server.url, prompt) for prompt in prompts))
    heard = [reply.body["choices"][0]["message"]["content"] for reply in replies]
    assert heard == [f"heard {len(prompt)}" for prompt in prompts]


async def test_an_answer_that_comes_before_the_question_is_out_counts(
    provider: OpenAIProvider, server: Http2Server
) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(provider, server.url, "y" * 2_000_000, job="early")
    assert caught.value.upstream_status == 413
    await ask(provider, server.url)
    assert len(server.connections) == 1


async def test_a_refused_stream_is_sent_again(provider: OpenAIProvider, server: Http2Server) -> None:
    reply = await ask(provider, server.url, "please refuse")
    assert reply.body["choices"][0]["message"]["content"] == "heard 13"
    assert server.prompts == ["please refuse"] * 2


async def test_a_server_that_goes_away_is_asked_on_a_new_connection(
    provider: OpenAIProvider, server: Http2Server
) -> None:
    await ask(provider, server.url, "then goaway")
    await ask(provider, server.url)
    assert len(server.connections) == 2


async def test_a_connection_that_breaks_in_a_reply_is_a_bad_reply(
    provider: OpenAIProvider, server: Http2Server
) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(provider, server.url, "then drop")
    assert (caught.value.code, caught.value.retryable) == ("bad_reply", True)
    await ask(provider, server.url)


async def test_a_connection_that_was_lost_while_idle_is_replaced(provider: OpenAIProvider, server: Http2Server) -> None:
    await ask(provider, server.url)
    server.connections[0].transport.abort()
    await ask(provider, server.url)
    assert len(server.connections) == 2


async def test_closing_the_provider_cuts_off_calls_over_http2(provider: OpenAIProvider, server: Http2Server) -> None:
    task = asyncio.create_task(ask(provider, server.url, "please hang"))
    await until(lambda: bool(server.prompts))
    await provider.aclose()
    with pytest.raises(ProviderError) as caught:
        await task
    assert caught.value.code == "upstream_unreachable"


async def test_a_server_without_http2_is_asked_over_the_pool(
    provider: OpenAIProvider, files: tuple[Path, Path]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        message = {"role": "assistant", "content": f"HTTP/{request.version.major}"}
        return web.json_response({"choices": [{"index": 0, "message": message}]})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls(files, ["http/1.1"]))
        await site.start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/v1"
        replies = [await ask(provider, url) for _ in range(3)]
    finally:
        await runner.cleanup()
    assert {reply.body["choices"][0]["message"]["content"] for reply in replies} == {"HTTP/1"}
    assert provider.connections()["d"] == ConnectionCounts(opened=1, reused=2)


@pytest.mark.parametrize("http2", [False, True])
async def test_nobody_listening_is_told_as_such(provider: OpenAIProvider, http2: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ProviderError, match="cannot be reached: connection refused") as caught:
        await ask(provider, f"https://127.0.0.1:{port}", http2=http2)
    assert (caught.value.code, caught.value.retryable) == ("upstream_unreachable", True)


@pytest.mark.parametrize("http2", [False, True])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: Http2Server, monkeypatch: pytest.MonkeyPatch, http2: bool
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    stranger = OpenAIProvider(environment={})
    with pytest.raises(ProviderError, match="TLS failed"):
        await ask(stranger, server.url, http2=http2)
    await stranger.aclose()


async def test_warming_makes_the_connection_that_the_next_call_uses(
    provider: OpenAIProvider, server: Http2Server
) -> None:
    report = await provider.warm(deployment(server.url))
    assert report.connect_ms is not None and report.connect_ms > 0
    assert (report.opened, report.status, report.error) == (1, 200, None)
    reply = await ask(provider, server.url)
    assert reply.timing.connect_ms is None
    again = await provider.warm(deployment(server.url))
    assert (again.connect_ms, again.opened) == (None, 0)
    assert len(server.connections) == 1
    assert provider.connections() == {"d": ConnectionCounts(opened=0, reused=1, warmed=1)}


async def test_warming_over_http1_opens_as_many_as_the_floor_of_concurrency(provider: OpenAIProvider) -> None:
    async with ReplayServer() as upstream:
        wanted = deployment(upstream.url, http2=False, min_concurrency=3, api_key_env="TEST_KEY")
        report = await provider.warm(wanted)
        assert (report.opened, report.status) == (3, 200)
        assert [headers["authorization"] for headers in upstream.headers] == ["Bearer sk-test"] * 3
        assert upstream.paths == ["/models"] * 3
    await provider.aclose()


async def test_warming_never_fails_loudly(provider: OpenAIProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refused = await provider.warm(deployment(f"http://127.0.0.1:{port}"))
    assert refused.error is not None and "connection refused" in refused.error
    assert (refused.connect_ms, refused.opened) == (None, 0)
    keyless = await provider.warm(deployment("http://127.0.0.1:1", api_key_env="ABSENT_KEY"))
    assert keyless.error is not None and "ABSENT_KEY" in keyless.error


async def test_a_deployment_has_as_many_connections_as_it_had_calls_at_once(
    provider: OpenAIProvider, simulator: RunningSimulator
) -> None:
    def calls(count: int) -> list[asyncio.Task[Reply]]:
        url = simulator.url + "/v1"
        body = {"messages": [{"role": "user", "content": "x"}], "sim": {"hang": True}}
        target = deployment(url, http2=False, upstream_model="sim/fast")
        return [asyncio.create_task(provider.call(Call(target, CHAT, body, False, 30, {}), None)) for _ in range(count)]

    for count in (6, 4):
        tasks = calls(count)
        await asyncio.to_thread(simulator.wait_for, min_in_flight=count)
        await asyncio.to_thread(simulator.control, release=True)
        await asyncio.gather(*tasks)
    assert provider.connections()["d"] == ConnectionCounts(opened=6, reused=4)


async def test_sockets_send_at_once_and_notice_a_peer_that_is_gone() -> None:
    made: list[socket.socket] = []
    async with ReplayServer() as upstream:
        transport = PooledTransport()
        response = await transport.send("GET", httpx.URL(upstream.url), [], b"", connect_s=5, trace=ConnectTrace())
        session = transport._session
        assert session is not None and session.connector is not None
        made += [
            cast("asyncio.Transport", protocol.transport).get_extra_info("socket")
            for protocols in session.connector._conns.values()
            for protocol, _ in protocols
        ]
        in_use = response.stream._response.connection  # type: ignore[union-attr]
        if in_use is not None:
            made.append(in_use.transport.get_extra_info("socket"))
        assert made
        for one in made:
            assert_prepared(one)
        await response.aclose()
        await transport.aclose()


def assert_prepared(one: Any) -> None:
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20


async def test_sockets_of_http2_are_prepared_too(provider: OpenAIProvider, server: Http2Server) -> None:
    await ask(provider, server.url)
    ((connection,),) = provider._connections._http2._connections.values()
    assert connection._socket is not None
    assert_prepared(connection._socket.get_extra_info("socket"))


def test_a_socket_that_is_not_of_the_internet_is_left_as_it_is() -> None:
    one, other = socket.socketpair()
    with one, other:
        prepare_socket(one)
        assert not one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_the_event_loop_of_workers_carries_it_too(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))

    async def scenario() -> None:
        provider = OpenAIProvider(environment={})
        async with Http2Server(files) as server:
            assert (await provider.warm(deployment(server.url))).opened == 1
            hanging = asyncio.create_task(ask(provider, server.url, "please hang"))
            await asyncio.gather(*(ask(provider, server.url) for _ in range(20)))
            ((connection,),) = provider._connections._http2._connections.values()
            assert connection._socket is not None
            assert_prepared(connection._socket.get_extra_info("socket"))
            hanging.cancel()
            await until(lambda: server.resets == [CANCEL])
            assert len(server.connections) == 1
            await provider.aclose()

    uvloop.run(scenario())
