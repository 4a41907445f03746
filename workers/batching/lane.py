"""The upstream slots of one deployment, and who gets them next."""

import asyncio
from collections.abc import Callable

from policies.batching import Unsplittable, bisect, fitting, may_blame_one
from policies.catalog import Deployment
from policies.pacing import Pacer
from workers.batching.parcel import Parcel, Pool, Waiting, clock
from workers.batching.shared import ask, failure_of
from workers.providers.protocol import Provider, ProviderError, Reply


class Lane:
    """Calls to one deployment: those under way, those that may share and wait, those that are made alone and wait.

    Args:
        inner: makes upstream calls.
        slots: tells how many upstream calls to a deployment may be under way in this process now.
        deployment: the deployment, with the settings of the catalog in force; the latest call renews it.
    """

    def __init__(self, inner: Provider, slots: Callable[[Deployment], int], deployment: Deployment) -> None:
        self._inner = inner
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer()
        self._pool = Pool()
        # Made alone, or again after a refusal; those of a refused call stand in front.
        self._turns: dict[Parcel, None] = {}
        self._under_way: set[Parcel] = set()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self.deployment = deployment

    @property
    def in_flight(self) -> int:
        """Upstream calls under way."""
        return len(self._under_way)

    def enter(self, waiting: Waiting) -> None:
        """Take a call in. What comes in the same turn of the loop starts together."""
        self.deployment = waiting.call.deployment
        if waiting.key is None:
            self._turns[Parcel([waiting])] = None
        else:
            self._pacer.arrived(waiting.since, waiting.items)
            self._pool.add(waiting)
        self.look_again()

    def leave(self, waiting: Waiting) -> None:
        """Nobody waits for this call any more, be it answered or cancelled."""
        parcel = waiting.parcel
        if parcel is None:
            self._pool.discard(waiting)
            return
        parcel.wanted.discard(waiting)
        if parcel.wanted:
            return
        self._turns.pop(parcel, None)
        if parcel.task is not None:
            parcel.task.cancel()

    def look_again(self) -> None:
        """Something changed: see soon who may start."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._start_what_may)

    async def close(self) -> None:
        """Cut off what is under way; what waits is cancelled."""
        tasks = [parcel.task for parcel in self._under_way if parcel.task is not None]
        for task in tasks:
            task.cancel()
        while self._pool:
            waiting = self._pool.oldest
            self._pool.discard(waiting)
            waiting.answer.cancel()
        for parcel in list(self._turns):
            _cancel(parcel)
        self._turns.clear()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_what_may(self) -> None:
        self._scheduled = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Whoever was let into this process has a claim to be served, whatever has become of the allotment since.
        slots = max(1, self._slots(self.deployment))
        self._start_turns(slots, before=self._pool.oldest.since if self._pool else None)
        if self._pool and len(self._under_way) < slots:
            self._start_shared(slots)
        self._start_turns(slots, before=None)

    def _start_turns(self, slots: int, before: float | None) -> None:
        while self._turns and len(self._under_way) < slots:
            parcel = next(iter(self._turns))
            if before is not None and parcel.since > before:
                return
            del self._turns[parcel]
            self._start(parcel)

    def _start_shared(self, slots: int) -> None:
        now, most = clock(), self.deployment.merge_items
        plan = self._pacer.plan(
            now,
            waiting=self._pool.items,
            oldest=self._pool.oldest.since,
            slots=slots,
            ends=[parcel.ends for parcel in self._under_way],
            most=most,
        )
        for size in plan.sizes:
            left = size
            # What cannot be mixed takes several calls for one share.
            while left > 0 and self._pool and len(self._under_way) < slots:
                parcel = self._pool.take(self._fitting(min(left, most)), most)
                left -= parcel.items
                self._start(parcel)
        if self._pool and plan.again_in is not None and len(self._under_way) < slots:
            self._timer = self._loop.call_later(plan.again_in, self.look_again)

    def _fitting(self, most: int) -> Callable[[list[Waiting]], int]:
        tokens = self.deployment.merge_tokens
        return lambda jobs: fitting([(job.items, job.tokens) for job in jobs], most, tokens)

    def _start(self, parcel: Parcel) -> None:
        parcel.drop_unwanted()
        parcel.ends = clock() + self._pacer.expected_s(parcel.items)
        self._under_way.add(parcel)
        parcel.task = self._loop.create_task(self._run(parcel))
        # In the callback and not in the task: one that is cancelled before its first step never gets to clean up.
        parcel.task.add_done_callback(lambda _: self._ended(parcel))

    def _ended(self, parcel: Parcel) -> None:
        self._under_way.discard(parcel)
        _cancel(parcel)
        self.look_again()

    async def _run(self, parcel: Parcel) -> None:
        jobs, began = parcel.jobs, clock()
        try:
            replies = await self._answers(jobs)
        except (ProviderError, Unsplittable) as error:
            if len(jobs) > 1 and _blames_one(error):
                self._again_by_halves(parcel)
            else:
                _fail(jobs, error)
        except Exception as error:  # noqa: BLE001 - whoever waits must learn of a defect too
            _fail(jobs, error)
        else:
            if jobs[0].key is not None:
                self._pacer.finished(parcel.items, clock() - began)
            for job, reply in zip(jobs, replies, strict=True):
                if not job.answer.done():
                    job.answer.set_result(reply)

    async def _answers(self, jobs: list[Waiting]) -> list[Reply]:
        if len(jobs) == 1:
            return [await self._inner.call(jobs[0].call, jobs[0].on_delta)]
        return await ask(self._inner, [job.call for job in jobs])

    def _again_by_halves(self, parcel: Parcel) -> None:
        """Somebody in it is to blame: each half is asked again, so that in the end only the guilty fail."""
        parcel.drop_unwanted()
        halves = [Parcel(list(half)) for half in bisect(parcel.jobs) if half]
        parcel.jobs = []
        self._turns = dict.fromkeys([*halves, *self._turns])


def _blames_one(error: ProviderError | Unsplittable) -> bool:
    return isinstance(error, Unsplittable) or may_blame_one(error.code, error.upstream_status)


def _fail(jobs: list[Waiting], error: Exception) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(error if len(jobs) == 1 else failure_of(error, len(jobs)))


def _cancel(parcel: Parcel) -> None:
    for job in parcel.jobs:
        job.answer.cancel()
