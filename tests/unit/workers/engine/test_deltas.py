"""Numbering of streamed deltas: every number once, in order, however they are cut into chunks."""

import asyncio
import itertools
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from core.store.work import DeltaChunk
from tests.support.jobs import claimed_job
from workers.engine.deltas import DeltaStream
from workers.providers.protocol import Delta


class Shown:
    """Takes what goes out live."""

    def __init__(self) -> None:
        self.deltas_shown: list[tuple[int, dict[str, Any]]] = []
        self.messages = 0

    def deltas(self, _job: object, first_seq: int, deltas: list[dict[str, Any]]) -> None:
        self.messages += 1
        self.deltas_shown += zip(itertools.count(first_seq), deltas, strict=False)


def spread(chunks: list[DeltaChunk]) -> list[tuple[int, dict[str, Any]]]:
    told = []
    for chunk in chunks:
        data = orjson.loads(chunk.data)
        assert chunk.last_seq - chunk.seq + 1 == len(data)
        told += list(zip(range(chunk.seq, chunk.last_seq + 1), data, strict=True))
    return told


@settings(deadline=None)
@given(steps=st.lists(st.sampled_from(["add", "flush", "turn"]), max_size=60), first=st.integers(1, 10**6))
def test_stored_and_shown_deltas_carry_the_same_numbers(steps: list[str], first: int) -> None:
    async def work() -> None:
        shown = Shown()
        changed: list[DeltaStream] = []
        chunks: list[DeltaChunk] = []
        stream = DeltaStream(claimed_job(event_seq=first, stream=True, lease_no=4), shown, changed.append)  # type: ignore[arg-type]
        texts = []
        for number, step in enumerate(steps):
            if step == "add":
                texts.append(f"text {number}")
                stream.add(Delta(texts[-1], {"index": 0} if number % 3 == 0 else None))
            elif step == "flush":
                chunks += stream.take_chunks()
            else:
                await asyncio.sleep(0)
        chunks += stream.take_chunks()
        await asyncio.sleep(0)
        told = spread(chunks)
        assert told == shown.deltas_shown
        assert [seq for seq, _ in told] == list(range(first + 1, first + 1 + len(texts)))
        assert [data["delta"] for _, data in told] == texts
        assert stream.last_seq == first + len(texts)
        assert stream.streamed == bool(texts)
        assert {chunk.lease_no for chunk in chunks} <= {4}
        assert len(changed) == len(texts)

    asyncio.run(work())


async def test_deltas_of_one_read_go_out_as_one_message() -> None:
    shown = Shown()
    stream = DeltaStream(claimed_job(stream=True), shown, lambda _: None)  # type: ignore[arg-type]
    for text in "abc":
        stream.add(Delta(text, None))
    assert shown.messages == 0
    await asyncio.sleep(0)
    assert shown.messages == 1
    assert [seq for seq, _ in shown.deltas_shown] == [3, 4, 5]


async def test_nothing_new_is_no_chunk() -> None:
    stream = DeltaStream(claimed_job(stream=True), Shown(), lambda _: None)  # type: ignore[arg-type]
    assert stream.take_chunks() == []
    stream.add(Delta("a", None))
    assert len(stream.take_chunks()) == 1
    assert stream.take_chunks() == []


async def test_a_reset_takes_a_number_of_its_own_between_the_deltas() -> None:
    shown = Shown()
    stream = DeltaStream(claimed_job(stream=True, event_seq=2), shown, lambda _: None)  # type: ignore[arg-type]
    stream.reset("nothing was told yet")
    assert (stream.last_seq, stream.told) == (2, False)
    stream.add(Delta("a", None))
    stream.add(Delta("b", None))
    stream.reset("upstream_error")
    assert (stream.streamed, stream.told) == (False, True)
    stream.add(Delta("c", None))
    await asyncio.sleep(0)
    assert [(seq, data["delta"]) for seq, data in shown.deltas_shown] == [(3, "a"), (4, "b"), (6, "c")]
    chunks = stream.take_chunks()
    assert [(chunk.type, chunk.seq, chunk.last_seq) for chunk in chunks] == [
        ("job.delta", 3, 4), ("job.reset", 5, 5), ("job.delta", 6, 6),
    ]  # fmt: skip
    assert orjson.loads(chunks[1].data) == {"reason": "upstream_error"}
    assert stream.streamed
