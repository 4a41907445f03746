"""Calls that share an upstream call, and calls that don't."""

import asyncio
from typing import Any

import pytest

from tests.integration.batching.conftest import EMBED, Bench, turn
from workers.providers.protocol import Delta

SAMPLES: dict[str, list[dict[str, Any]]] = {
    EMBED: [{"input": "one"}, {"input": ["two", "three"]}, {"input": ["four"]}],
    "/v1/moderations": [{"input": "fine"}, {"input": ["flagme", "fine too"]}],
    "/v1/completions": [{"prompt": "once upon"}, {"prompt": ["a time", "there was"]}],
    "/v1/rerank": [
        {"query": "red coat", "documents": ["blue hat", "red coat", "red hat"], "top_n": 2},
        {"query": "red coat", "documents": ["a coat", "nothing"]},
    ],
}
LISTS = {EMBED: "data", "/v1/moderations": "results", "/v1/completions": "choices", "/v1/rerank": "results"}


@pytest.mark.parametrize("endpoint", SAMPLES)
async def test_jobs_that_come_together_share_one_call_and_get_what_they_asked_for(bench: Bench, endpoint: str) -> None:
    bodies = SAMPLES[endpoint]
    replies = await asyncio.gather(*(bench.call(body, endpoint) for body in bodies))
    assert bench.simulator.stats()["requests"] == 1
    for body, reply in zip(bodies, replies, strict=True):
        alone = await bench.direct(body, endpoint)
        assert reply.body[LISTS[endpoint]] == alone.body[LISTS[endpoint]]
        assert set(reply.body) == set(alone.body)
        assert reply.merged == len(bodies)
        assert reply.timing.upstream_ms is not None
    assert len({id(reply.timing) for reply in replies}) == len(replies)


async def test_the_usage_of_a_shared_call_adds_up_to_what_the_upstream_reported(bench: Bench) -> None:
    texts = ["a", "some words more", "x" * 4000]
    replies = await asyncio.gather(*bench.embed(*texts))
    whole = await bench.direct({"input": texts})
    used = [reply.usage.input_tokens for reply in replies if reply.usage is not None]
    assert whole.usage is not None and len(used) == 3
    assert sum(used) == whole.usage.input_tokens
    assert used[0] < used[1] < used[2]


async def test_what_is_asked_differently_does_not_share(bench: Bench) -> None:
    calls = [bench.call({"input": "a", "dimensions": size}) for size in (8, 8, 16)]
    replies = await asyncio.gather(*calls)
    assert sorted(bench.sizes()) == [1, 2]
    assert [len(reply.body["data"][0]["embedding"]) for reply in replies] == [8, 8, 16]


async def test_a_single_call_is_sent_as_it_is(bench: Bench) -> None:
    body = {"query": "q", "documents": ["a", "q"], "top_n": 1}
    reply = await bench.call(body, "/v1/rerank")
    assert reply.body["results"] == (await bench.direct(body, "/v1/rerank")).body["results"]
    assert reply.merged == 1


async def test_a_deployment_that_does_not_merge_is_called_straight(bench: Bench) -> None:
    bench.setting(merge_items=1)
    bench.slots = 1
    await asyncio.gather(*bench.embed("a", "b", "c"))
    assert bench.sizes() == [1, 1, 1]
    assert bench.merger.in_flight("sim/gpu") == 0


async def test_while_slots_are_taken_calls_gather_and_leave_in_full_batches(bench: Bench) -> None:
    bench.slots = 1
    bench.setting(merge_items=8)
    hanging = await bench.taken()
    calls = []
    for number in range(20):
        calls += bench.embed(f"text {number}")
        await turn()
    assert bench.merger.in_flight("sim/gpu") == 1
    bench.release()
    replies = await asyncio.gather(*hanging, *calls)
    assert bench.sizes() == [1, 8, 8, 4]
    assert [reply.merged for reply in replies] == [1, *[8] * 16, *[4] * 4]


async def test_a_batch_stays_within_the_deployments_tokens(bench: Bench) -> None:
    bench.slots = 1
    bench.setting(merge_tokens=100)
    hanging = await bench.taken()
    calls = bench.embed(*["x" * 160] * 5)  # 40 tokens each, as estimated
    await turn()
    bench.release()
    await asyncio.gather(*hanging, *calls)
    assert bench.sizes() == [1, 2, 2, 1]


async def test_no_more_calls_are_under_way_than_there_are_slots(bench: Bench) -> None:
    bench.slots = 2
    chats = [bench.call({"messages": [{"role": "user", "content": "hi"}]}, "/v1/chat/completions") for _ in range(6)]
    embeddings = [bench.call({"input": "a", "user": str(number)}) for number in range(6)]
    await asyncio.gather(*chats, *embeddings)
    assert bench.simulator.stats()["max_in_flight"] == 2


async def test_more_slots_are_used_as_soon_as_they_are_told_of(bench: Bench) -> None:
    bench.slots = 1
    hanging = await bench.taken()
    waiting = bench.embed("a")
    await turn()
    assert not waiting[0].done()
    bench.slots = 2
    bench.merger.slots_changed()
    await waiting[0]
    bench.release()
    await asyncio.gather(*hanging)


async def test_streams_pass_through_with_every_delta(bench: Bench) -> None:
    deltas: list[Delta] = []
    body = {"prompt": "once upon a time"}
    streamed = bench.call(body, "/v1/completions", stream=True, on_delta=deltas.append)
    other = bench.call(body, "/v1/completions")
    replies = await asyncio.gather(streamed, other)
    assert "".join(delta.text for delta in deltas) == replies[0].body["choices"][0]["text"]
    assert replies[0].body["choices"][0]["text"] == replies[1].body["choices"][0]["text"]
    assert [reply.merged for reply in replies] == [1, 1]


async def test_a_call_that_wants_to_be_alone_is(bench: Bench) -> None:
    calls = [*bench.embed("a", "b"), *bench.embed("last attempt", alone=True)]
    replies = await asyncio.gather(*calls)
    assert [reply.merged for reply in replies] == [2, 2, 1]


async def test_the_upstream_sees_the_first_jobs_trace_and_the_jobs_ids(bench: Bench) -> None:
    def headers(number: int) -> dict[str, str]:
        return {"x-coatcheck-job-id": f"job_{number}", "traceparent": f"00-{number:032x}-{1:016x}-01"}

    await asyncio.gather(*(bench.call({"input": "a"}, headers=headers(number)) for number in range(1, 12)))
    (seen,) = bench.simulator.stats()["last"]
    assert seen["traceparent"] == headers(1)["traceparent"]
    assert seen["job_id"] == ", ".join(f"job_{number}" for number in range(1, 9)) + ", +3"
