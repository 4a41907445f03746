"""The simulator itself: labelled, deterministic, steerable, and what it says it saw."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from cli.simulator.models import MODELS
from core.catalog import SIMULATED
from tests.support.simulator import RunningSimulator, running_simulator

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/embeddings": {"input": ["x", "y"]},
    "/v1/moderations": {"input": "x"},
    "/v1/rerank": {"query": "x", "documents": ["x", "y"]},
}


def post(simulator: RunningSimulator, path: str, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(simulator.url + path, json=body, trust_env=False, timeout=30, **options)


def chat(simulator: RunningSimulator, prompt: str = "x", **more: Any) -> str:
    body = {"model": "sim/fast", "messages": [{"role": "user", "content": prompt}], **more}
    answer = post(simulator, "/v1/chat/completions", body).raise_for_status().json()
    return str(answer["choices"][0]["message"]["content"])


@pytest.fixture
def client(simulator: RunningSimulator) -> openai.OpenAI:
    http_client = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(api_key="none", base_url=simulator.url + "/v1", max_retries=0, http_client=http_client)


def test_every_model_answers_its_endpoints_under_its_own_name(simulator: RunningSimulator) -> None:
    for model, endpoints in SIMULATED.items():
        for endpoint in endpoints:
            body = {"model": model, **REQUESTS[endpoint], "sim": {"latency_ms": 0}}
            answer = post(simulator, endpoint, body).raise_for_status().json()
            assert answer["model"] == model
            assert model.startswith("sim/")


def test_the_official_client_can_talk_to_it(client: openai.OpenAI) -> None:
    with client:
        assert {model.id for model in client.models.list()} == set(MODELS)
        messages: Any = [{"role": "user", "content": "x"}]
        whole = client.chat.completions.create(model="sim/fast", messages=messages)
        stream = client.chat.completions.create(model="sim/fast", messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(pieces) == whole.choices[0].message.content
        # The client asks for base64 by itself.
        vectors = client.embeddings.create(model="sim/embed", input=["a", "b"], dimensions=8)
        assert [len(item.embedding) for item in vectors.data] == [8, 8]
        assert client.responses.create(model="sim/fast", input="x").output_text.startswith("[sim] ")
        with client.responses.stream(model="sim/fast", input="x") as events:
            assert "response.completed" in [event.type for event in events]
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="sim/none", input="a")


def test_answers_follow_from_prompt_and_seed_and_are_labelled(simulator: RunningSimulator) -> None:
    assert chat(simulator, "a") == chat(simulator, "a") != chat(simulator, "b")
    assert chat(simulator, "a").startswith("[sim] ")
    assert chat(simulator, "a", sim={"text": "as told"}) == "[sim] as told"
    with running_simulator("--seed", "2") as other:
        assert chat(other, "a") != chat(simulator, "a")


def test_the_limit_of_tokens_is_kept(simulator: RunningSimulator) -> None:
    body = {"model": "sim/fast", "messages": [], "max_tokens": 3}
    answer = post(simulator, "/v1/chat/completions", body).json()
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"


def test_slots_limit_how_many_are_served_and_queued_ones_follow(simulator: RunningSimulator) -> None:
    simulator.control(model="sim/gpu", latency_ms=30)
    body = {"model": "sim/gpu", "input": ["a"] * 8}
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post(simulator, "/v1/embeddings", body), range(10)))
    assert all(answer.status_code == 200 for answer in answers)
    stats = simulator.stats()["models"]["sim/gpu"]
    assert stats["completed"] == 10
    assert stats["batch_items"] == {"8": 10}


def test_a_waiting_client_that_leaves_gives_its_place_away(simulator: RunningSimulator) -> None:
    slots = MODELS["sim/gpu"].slots
    body = {"model": "sim/gpu", **REQUESTS["/v1/chat/completions"], "sim": {"latency_ms": 60_000}}
    raw = json.dumps(body).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw
    clients = []
    for number in range(slots + 3):
        client = socket.create_connection(("127.0.0.1", int(simulator.url.rsplit(":", 1)[1])))
        client.sendall(request)
        clients.append(client)
        simulator.wait_for(min_in_flight=number + 1)
    for client in reversed(clients):  # those in line first, then those served
        client.close()
    simulator.wait_for(min_cancelled=slots + 3, max_in_flight=0)
    quick = {**body, "sim": {"latency_ms": 0}}
    assert post(simulator, "/v1/chat/completions", quick).status_code == 200


def test_a_stream_is_whole_at_every_speed(simulator: RunningSimulator) -> None:
    def streamed(speed: float) -> tuple[float, int, bool]:
        sim = {"ttft_ms": 5, "tokens_per_s": speed, "tokens": 6}
        body = {"model": "sim/fast", **REQUESTS["/v1/chat/completions"], "stream": True, "sim": sim}
        text = post(simulator, "/v1/chat/completions", body).raise_for_status().text
        return speed, text.count('"content":'), text.endswith("data: [DONE]\n\n")

    speeds = [4, 7, 11, 13, 15, 17, 19, 23, 29, 30, 37, 60, 70, 90, 110, 130, 170, 190, 300, 700, 3000]
    with ThreadPoolExecutor(len(speeds)) as pool:
        assert list(pool.map(streamed, speeds)) == [(speed, 6, True) for speed in speeds]


def test_a_stream_that_is_cut_before_its_first_token_does_not_end_well(simulator: RunningSimulator) -> None:
    sim = {"malformed": "stream_cut", "after_tokens": 0}
    body = {"model": "sim/fast", **REQUESTS["/v1/chat/completions"], "stream": True, "sim": sim}
    with pytest.raises(httpx.RemoteProtocolError):
        post(simulator, "/v1/chat/completions", body)


def test_errors_heal_after_the_asked_number_of_times(simulator: RunningSimulator) -> None:
    body = {
        "model": "sim/fast",
        "messages": [],
        "sim": {"key": "k", "error": {"status": 429, "retry_after": 2, "times": 2}},
    }
    answers = [post(simulator, "/v1/chat/completions", body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "2"


def test_the_asked_share_of_calls_takes_so_many_times_as_long(simulator: RunningSimulator) -> None:
    # No time of a thousand seconds is none.
    sim = {"latency_ms": 1_000_000, "slow_calls": {"rate": 1, "times": 0}}
    assert post(simulator, "/v1/chat/completions", {"model": "sim/fast", "messages": [], "sim": sim}).status_code == 200
    sim = {"latency_ms": 0, "slow_calls": {"rate": 0, "times": 1_000_000}}
    assert post(simulator, "/v1/chat/completions", {"model": "sim/fast", "messages": [], "sim": sim}).status_code == 200


def test_an_error_rate_hits_about_its_share_and_the_same_ones_for_a_seed() -> None:
    def statuses() -> list[int]:
        with running_simulator("--seed", "7") as simulator, httpx.Client(trust_env=False) as client:
            simulator.control(model="sim/fast", error={"status": 503, "rate": 0.3})
            body = {"model": "sim/fast", "messages": []}
            return [client.post(simulator.url + "/v1/chat/completions", json=body).status_code for _ in range(100)]

    first = statuses()
    assert 10 < first.count(503) < 50
    assert first == statuses()


def test_control_changes_one_model_until_it_is_cleared(simulator: RunningSimulator) -> None:
    simulator.control(model="sim/fast", error={"status": 500})
    assert post(simulator, "/v1/chat/completions", {"model": "sim/fast", "messages": []}).status_code == 500
    moderation = {"model": "sim/moderate", "input": "x"}
    assert post(simulator, "/v1/moderations", moderation).status_code == 200
    simulator.control(clear=True)
    assert post(simulator, "/v1/chat/completions", {"model": "sim/fast", "messages": []}).status_code == 200


async def test_hanging_requests_go_on_when_released_by_key(simulator: RunningSimulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.url, trust_env=False, timeout=30) as client:

        async def hanging(key: str) -> int:
            body = {"model": "sim/fast", "messages": [], "sim": {"hang": True, "key": key}}
            return (await client.post("/v1/chat/completions", json=body)).status_code

        tasks = {key: asyncio.create_task(hanging(key)) for key in "ab"}
        await asyncio.to_thread(simulator.wait_for, min_in_flight=2)
        await asyncio.to_thread(simulator.control, release="a")
        assert await tasks["a"] == 200
        assert not tasks["b"].done()
        await asyncio.to_thread(simulator.control, release=True)
        assert await tasks["b"] == 200


def test_what_was_seen_can_be_read(simulator: RunningSimulator) -> None:
    headers = {"x-coatcheck-job-id": "job_1", "traceparent": "00-1-2-01"}
    body = {"model": "sim/embed", "input": ["a", "b"], "sim": {"key": "k"}}
    answer = post(simulator, "/v1/embeddings", body, headers=headers)
    (seen,) = simulator.stats(last=1)["last"]
    assert seen == {
        "id": answer.headers["x-request-id"],
        "model": "sim/embed",
        "endpoint": "/v1/embeddings",
        "stream": False,
        "items": 2,
        "key": "k",
        "job_id": "job_1",
        "traceparent": "00-1-2-01",
        "outcome": "completed",
    }


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "sim/none"}, 404),
        ("/v1/chat/completions", {}, 400),
        ("/v1/chat/completions", [1], 400),
        ("/v1/chat/completions", {"model": "sim/fast", "messages": [], "sim": 7}, 400),
        ("/v1/chat/completions", {"model": "sim/fast", "messages": [], "sim": {"latency_ms": "soon"}}, 400),
        ("/v1/embeddings", {"model": "sim/embed", "input": "a", "dimensions": "many"}, 400),
        ("/v1/nothing", {}, 404),
        ("/control", [], 400),
    ],
)
def test_what_it_cannot_understand_is_refused_and_it_lives_on(
    simulator: RunningSimulator, path: str, body: Any, status: int
) -> None:
    assert post(simulator, path, body).status_code == status
    assert chat(simulator).startswith("[sim]")
    assert simulator.stats()["in_flight"] == 0


def test_requests_sent_in_one_go_are_answered_in_turn(simulator: RunningSimulator) -> None:
    raw = b'{"model":"sim/fast","messages":[],"sim":{"latency_ms":5}}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(raw)
    with socket.create_connection(("127.0.0.1", int(simulator.url.rsplit(":", 1)[1])), 20) as client:
        client.sendall((request + b"\r\n" + raw) * 2 + request + b"connection: close\r\n\r\n" + raw)
        received = b""
        while piece := client.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 3
