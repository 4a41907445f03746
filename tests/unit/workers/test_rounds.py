import asyncio

from workers.rounds import Rounds


class Looks:
    """Looks that fail, are due again soon or wait for long, in turn."""

    def __init__(self, *outcomes: float | Exception | None) -> None:
        self._outcomes = list(outcomes)
        self.left = asyncio.Semaphore(0)

    async def __call__(self) -> float | None:
        self.left.release()
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_what_is_due_soon_is_looked_at_soon() -> None:
    looks = Looks(0.0, 0.0)
    rounds = asyncio.create_task(Rounds(looks, 3600, soonest_s=0.0, failed="failed").run())
    for _ in range(3):
        await looks.left.acquire()
    rounds.cancel()


async def test_a_call_ends_the_pause() -> None:
    looks = Looks()
    rounds = Rounds(looks, 3600, soonest_s=0.0, failed="failed")
    running = asyncio.create_task(rounds.run())
    await looks.left.acquire()
    rounds.wake()
    await looks.left.acquire()
    running.cancel()


async def test_a_database_that_fails_costs_one_look() -> None:
    looks = Looks(OSError("away"))
    rounds = Rounds(looks, 3600, soonest_s=0.0, failed="failed")
    running = asyncio.create_task(rounds.run())
    await looks.left.acquire()
    rounds.wake()
    await looks.left.acquire()
    running.cancel()
