"""Shared calls that are refused, that fail, that take too long, and whose jobs are cancelled."""

import asyncio
from typing import Any

import pytest

from tests.integration.batching.conftest import EMBED, Bench, turn
from workers.providers.protocol import ProviderError, Reply

Outcome = Reply | BaseException


async def outcomes(calls: "list[asyncio.Task[Reply]]") -> list[Outcome]:
    return await asyncio.gather(*calls, return_exceptions=True)


def error_of(outcome: Outcome) -> ProviderError:
    assert isinstance(outcome, ProviderError), outcome
    return outcome


async def test_when_one_job_is_refused_only_it_fails(bench: Bench) -> None:
    bench.simulator.control(refuse="poison")
    texts = [f"text {number}" for number in range(16)]
    texts[11] = "poison"
    found = await outcomes(bench.embed(*texts))
    guilty = error_of(found.pop(11))
    assert (guilty.code, guilty.upstream_status, guilty.retryable) == ("invalid_request", 400, False)
    # It was asked alone in the end: the upstream speaks of its own first item, and of nobody else's.
    assert "item 0 holds 'poison'" in guilty.message and guilty.merged == 1
    assert all(isinstance(one, Reply) for one in found)
    assert bench.simulator.stats()["requests"] <= 1 + 2 * 4


async def test_several_guilty_ones_are_all_found(bench: Bench) -> None:
    bench.simulator.control(refuse="poison")
    bodies: list[dict[str, Any]] = [
        {"input": ["fine", "poison"] if number in (0, 1, 6) else "fine"} for number in range(8)
    ]
    found = await outcomes([bench.call(body) for body in bodies])
    assert [isinstance(one, ProviderError) for one in found] == [number in (0, 1, 6) for number in range(8)]


async def test_a_batch_that_the_upstream_finds_too_large_is_made_smaller(bench: Bench) -> None:
    bench.simulator.control(max_items=4)
    found = await outcomes(bench.embed(*(f"text {number}" for number in range(16))))
    assert all(isinstance(one, Reply) for one in found)
    assert sorted(bench.sizes()) == [4, 4, 4, 4, 8, 8, 16]


async def test_an_upstream_that_cannot_do_lists_is_asked_one_by_one(bench: Bench) -> None:
    bench.simulator.control(malformed="missing_item")
    found = await outcomes(bench.embed("a", "b", "c"))
    # This one cannot do single items either; the point is that nobody gets somebody else's.
    assert [error_of(one).code for one in found] == ["bad_reply"] * 3
    assert sorted(bench.sizes()) == [1, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"status": 500}, "upstream_error", True),
        ({"status": 503, "retry_after": 3}, "upstream_error", True),
        ({"status": 429, "retry_after": 3}, "rate_limited", True),
        ({"status": 401}, "unauthorized", False),
        ({"status": 404, "code": "model_not_found"}, "unknown_model", False),
    ],
)
async def test_when_the_upstream_fails_all_jobs_of_the_call_fail_alike(
    bench: Bench, error: dict[str, Any], code: str, retryable: bool
) -> None:
    bench.simulator.control(error={**error, "message": "cannot embed `their secret`"})
    found = [error_of(one) for one in await outcomes(bench.embed("mine", "their secret", "third"))]
    assert bench.simulator.stats()["requests"] == 1
    for one in found:
        assert (one.code, one.retryable, one.upstream_status) == (code, retryable, error["status"])
        assert one.retry_after_s == error.get("retry_after")
        assert one.merged == 3
        # What the upstream says of the whole may quote other tenants' texts.
        assert "secret" not in one.message
    assert len(set(map(id, found))) == 3


async def test_a_job_that_is_cancelled_before_its_call_starts_is_not_asked_for(bench: Bench) -> None:
    bench.slots = 1
    hanging = await bench.taken()
    calls = bench.embed("a", "b", "c")
    chat = bench.call({"messages": [{"role": "user", "content": "hi"}]}, "/v1/chat/completions")
    await turn()
    calls[1].cancel()
    chat.cancel()
    await turn()
    bench.release()
    found = await outcomes([*hanging, *calls, chat])
    assert bench.sizes() == [1, 2]
    assert [isinstance(one, asyncio.CancelledError) for one in found] == [False, False, True, False, True]


async def test_a_job_that_is_cancelled_under_way_does_not_disturb_the_others(bench: Bench) -> None:
    bench.simulator.control(hang=True)
    calls = bench.embed("a", "b", "c")
    await bench.reached(min_in_flight=1)
    calls[0].cancel()
    await turn()
    bench.release()
    found = await outcomes(calls)
    assert isinstance(found[0], asyncio.CancelledError)
    assert bench.simulator.stats()["cancelled"] == 0
    bench.simulator.control(clear=True)
    alone = [await bench.direct({"input": text}) for text in "bc"]
    assert [one.body["data"] for one in found[1:] if isinstance(one, Reply)] == [one.body["data"] for one in alone]


async def test_when_all_jobs_of_a_call_are_cancelled_the_upstream_call_is_too(bench: Bench) -> None:
    bench.slots = 1
    bench.simulator.control(hang=True)
    calls = bench.embed("a", "b", "c")
    await bench.reached(min_in_flight=1)
    for call in calls:
        call.cancel()
    await outcomes(calls)
    await bench.reached(min_cancelled=1, max_in_flight=0)
    bench.simulator.control(clear=True)
    assert (await bench.embed("next")[0]).merged == 1


async def test_who_was_cancelled_is_not_asked_for_again_after_a_refusal(bench: Bench) -> None:
    bench.simulator.control(hang=True, malformed="missing_item")
    calls = bench.embed("a", "b", "c")
    await bench.reached(min_in_flight=1)
    calls[1].cancel()
    await turn()
    bench.simulator.control(clear=True)
    bench.release()
    found = await outcomes(calls)
    assert [isinstance(one, Reply) for one in found] == [True, False, True]
    assert bench.sizes() == [3, 1, 1]


async def test_each_job_keeps_its_own_time_limit(bench: Bench) -> None:
    bench.simulator.control(hang=True)
    hasty = bench.call({"input": "a"}, timeout_s=0.05)
    patient = bench.call({"input": "b"}, timeout_s=30)
    error = error_of((await outcomes([hasty]))[0])
    assert (error.code, error.message, error.retryable) == ("timeout", "the attempt's limit of 0.05 s passed", True)
    assert not patient.done()
    bench.release()
    assert (await patient).merged == 2


async def test_the_time_limit_counts_while_a_job_waits_for_a_slot(bench: Bench) -> None:
    bench.slots = 1
    hanging = await bench.taken()
    waiting = [bench.call({"input": "a"}, timeout_s=0.05), bench.call({"input": "a"}, timeout_s=0.05, alone=True)]
    assert [error_of(one).code for one in await outcomes(waiting)] == ["timeout"] * 2
    bench.release()
    await asyncio.gather(*hanging)
    assert bench.sizes() == [1]


async def test_closing_cuts_off_what_is_under_way_and_what_waits(bench: Bench) -> None:
    bench.slots = 1
    hanging = await bench.taken()
    waiting = [*bench.embed("a"), *bench.embed("b", alone=True)]
    await turn()
    await bench.merger.aclose()
    found = await outcomes([*hanging, *waiting])
    assert all(isinstance(one, asyncio.CancelledError) for one in found)


async def test_a_body_that_cannot_be_sent_fails_alone(bench: Bench) -> None:
    found = await outcomes([*bench.embed("fine"), bench.call({"input": "\ud800"}, EMBED)])
    assert isinstance(found[0], Reply)
    assert error_of(found[1]).code == "invalid_request"
