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
        chunks: list[DeltaChunk | None] = []
        stream = DeltaStream(claimed_job(event_seq=first, stream=True, lease_no=4), shown, changed.append)  # type: ignore[arg-type]
        texts = []
        for number, step in enumerate(steps):
            if step == "add":
                texts.append(f"text {number}")
                stream.add(Delta(texts[-1], {"index": 0} if number % 3 == 0 else None))
            elif step == "flush":
                chunks.append(stream.take_chunk())
            else:
                await asyncio.sleep(0)
        chunks.append(stream.take_chunk())
        await asyncio.sleep(0)
        told = spread([chunk for chunk in chunks if chunk is not None])
        assert told == shown.deltas_shown
        assert [seq for seq, _ in told] == list(range(first + 1, first + 1 + len(texts)))
        assert [data["delta"] for _, data in told] == texts
        assert stream.last_seq == first + len(texts)
        assert stream.streamed == bool(texts)
        assert {chunk.lease_no for chunk in chunks if chunk} <= {4}
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
    assert stream.take_chunk() is None
    stream.add(Delta("a", None))
    assert stream.take_chunk() is not None
    assert stream.take_chunk() is None
