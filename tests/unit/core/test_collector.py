import asyncio

from hypothesis import given
from hypothesis import strategies as st

from core.collector import Collector


class Baskets(Collector[int]):
    """Collects numbers; a basket is emptied when the test lets it."""

    def __init__(self, *, most: int = 100, at_once: int = 1) -> None:
        super().__init__(most=most, at_once=at_once, name="baskets")
        self.begun: list[list[int]] = []
        self.may_end = asyncio.Semaphore(0)
        self.stirred = asyncio.Condition()

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self._add(number)

    async def _handle(self, batch: list[int]) -> None:
        async with self.stirred:
            self.begun.append(batch)
            self.stirred.notify_all()
        await self.may_end.acquire()

    async def until(self, count: int) -> None:
        """Wait until so many numbers are in baskets."""
        async with self.stirred:
            await self.stirred.wait_for(lambda: sum(map(len, self.begun)) >= count)


async def test_one_alone_waits_for_nobody_and_the_next_fill_meanwhile() -> None:
    baskets = Baskets()
    baskets.start()
    baskets.put(1)
    await baskets.until(1)
    baskets.put(2, 3, 4)
    baskets.may_end.release()
    await baskets.until(4)
    assert baskets.begun == [[1], [2, 3, 4]]
    await baskets.stop()


async def test_so_many_batches_are_under_way_at_once_and_no_more() -> None:
    baskets = Baskets(most=1, at_once=2)
    baskets.start()
    baskets.put(1, 2, 3)
    await baskets.until(2)
    assert baskets.begun == [[1], [2]]
    baskets.may_end.release()
    await baskets.until(3)
    await baskets.stop()


async def test_a_collector_is_healthy_from_its_start_to_its_stop() -> None:
    baskets = Baskets()
    seen = [baskets.healthy]
    baskets.start()
    seen.append(baskets.healthy)
    await baskets.stop()
    seen.append(baskets.healthy)
    assert seen == [False, True, False]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 7), st.integers(1, 3))
def test_every_item_is_handled_once_and_no_batch_is_too_large(items: list[int], most: int, at_once: int) -> None:
    async def collect() -> list[list[int]]:
        baskets = Baskets(most=most, at_once=at_once)
        for _ in items:
            baskets.may_end.release()
        baskets.start()
        baskets.put(*items)
        await baskets.until(len(items))
        await baskets.stop()
        return baskets.begun

    batches = asyncio.run(collect())
    assert [item for batch in batches for item in batch] == items
    assert all(1 <= len(batch) <= most for batch in batches)
