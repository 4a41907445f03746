"""The clock: fires the schedules that are due and expands their runs, in every worker that serves the lane maintenance.

It needs nobody to ring: beat's ring every minute only makes it look at once. Any number of clocks may tick at the same time,
because Postgres gives each due schedule and each run to one of them.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.auto import ttft_by_model
from core.limits import expected
from core.presence import alive
from core.store.accept import NewJob
from core.store.failures import is_crossed, is_outage
from core.store.moves import cancel_group
from core.store.schedule_runs import (
    Run,
    add_slice,
    end_window,
    fire_due,
    next_look_s,
    put_off,
    spent_by,
    stands_at,
    stop_run,
    take_run,
)
from policies.auto import AutoError, is_auto
from policies.catalog import Catalog
from policies.schedules import KEEP_WARM, PREWARM, Allowance, Spent, allowance
from workers.rounds import Rounds
from workers.schedules.expansion import Plan, job_of, key_of, routed
from workers.schedules.freshness import Freshness, NothingIsFresh
from workers.schedules.learning import Learner

_log = structlog.get_logger(__name__)
_EVERY_S: Final = 2.0
_SOONEST_S: Final = 0.05
# So many jobs at a time: a few milliseconds of the loop that live jobs need too.
_SLICE: Final = 32
_BREATH_S: Final = 0.01
# Prewarming gives way in the processors too, not only in the queue: where upstreams are quick, a run at full speed would take all
# of two cores and double the latency of live jobs. In slices, because workers claim what is there at once.
_PREWARM_PER_S: Final = 200.0
# After so long a run lets those that are due have their turn: one of ten thousand jobs takes half a minute, and may have company.
_TURN_S: Final = 1.0
# How often a run that waits for its budget to settle is looked at.
_PACE_S: Final = 0.5
_ROUND: Final = 20
_WEBHOOKS: Final = "webhooks"

#: A job request; None where there is no job to be made for a combination.
Request = dict[str, Any] | None


class ScheduleClock:
    """One in a worker process.

    Args:
        engine: connections with the worker's role.
        catalog: returns the catalog in force.
        public_url: what absolute URLs in webhook payloads start with.
        work: told which lanes got work.
        freshness: knows which entries of the cache need no prewarming.
        every_s: longest time between two looks.
        turn_s: how long a run is worked on while others may wait.
        now: the time in UTC, by which learned runs choose.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Callable[[], Catalog],
        public_url: str,
        *,
        work: Callable[[str], None],
        freshness: Freshness | None = None,
        every_s: float = _EVERY_S,
        turn_s: float = _TURN_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._public_url = public_url
        self._work = work
        self._turn_s = turn_s
        self._freshness = freshness or NothingIsFresh()
        self._learner = Learner(engine, catalog, self._freshness, public_url, now)
        self._rounds = Rounds(self.once, every_s, soonest_s=_SOONEST_S, failed="schedules_failed")

    def wake(self) -> None:
        """Look now."""
        self._rounds.wake()

    async def run(self) -> None:
        """Tick for ever; the engine cancels it."""
        await self._rounds.run()

    async def once(self) -> float | None:
        """Do what is due; return in how many seconds something is due next, None when nothing is."""
        due_in_s = await next_look_s(self._engine)
        if due_in_s is None or due_in_s > 0:
            return due_in_s
        await self._fire()
        while run := await take_run(self._engine):
            await self.work_on(run)
            await self._fire()
        return await next_look_s(self._engine)

    async def _fire(self) -> None:
        while (fired := await fire_due(self._engine, most=_ROUND)).looked_at == _ROUND:
            pass
        if fired.runs or fired.skipped:
            _log.info("schedules_fired", runs=len(fired.runs), skipped=fired.skipped)

    async def work_on(self, run: Run) -> None:
        """Take a run as far as it can go now, or until its turn is over."""
        try:
            if run.kind == KEEP_WARM:
                self._pushed(await end_window(self._engine, run.id, self._public_url))
            else:
                await self._expand(run)
        except Exception as error:
            # Whatever it is, it must not end one worker after the other.
            if is_outage(error) or is_crossed(error):
                raise
            # What fails now fails each time, and the schedule would be stuck behind this run. The error itself may quote a
            # prompt, which is nobody's business in a log.
            _log.error("run_refused", run=ids.encode(ids.RUN, run.id), error=type(error).__name__)
            await self._refuse(run)

    async def _expand(self, run: Run) -> None:
        plan = Plan.of(run)
        if plan.learned is not None and plan.learned.chosen is None:
            chosen, deliveries = await self._learner.choose(run, plan, plan.learned)
            self._pushed(deliveries)
            if chosen is None:
                return
            run, plan = chosen, Plan.of(chosen)
        await self._expand_plan(run, plan)

    async def _expand_plan(self, run: Run, plan: Plan) -> None:
        start, submitted, cancelled = run.next_index, run.submitted, run.cancelled
        end = time.monotonic() + self._turn_s
        while start < run.planned:
            if cancelled:
                await self._cancel(run, start)
                return
            allowed = await self._allowance(run, plan, start, submitted)
            if allowed.stopped_by is not None:
                self._pushed(await stop_run(self._engine, run, start, allowed.stopped_by, self._public_url))
                return
            if not allowed.jobs:
                await put_off(self._engine, run.id, _PACE_S)
                return
            upto, jobs = await self._slice(run, plan, start, allowed.jobs)
            moved = await add_slice(self._engine, run.id, start, upto, jobs, self._public_url)
            if moved is None:
                return
            self._pushed(moved.deliveries)
            for lane in {job.lane for job in jobs}:
                self._work(lane)
            start, submitted, cancelled = upto, submitted + len(jobs), moved.cancelled
            # Live jobs share this loop and the database: nobody waits for the last slice of ten thousand.
            await asyncio.sleep(_BREATH_S + (len(jobs) / _PREWARM_PER_S if run.kind == PREWARM else 0))
            if start < run.planned and time.monotonic() >= end:
                await put_off(self._engine, run.id, 0)
                return

    async def _allowance(self, run: Run, plan: Plan, start: int, submitted: int) -> Allowance:
        budget = plan.budget
        if not budget.counts_use:
            return allowance(budget, Spent(submitted), 0, None)
        row = await spent_by(self._engine, run.id)
        spent = Spent(
            submitted, row.unfinished, row.tokens, row.most_tokens, float(row.cost_usd), float(row.most_cost_usd)
        )
        tokens, cost = await asyncio.to_thread(self._expected, plan, start)
        return allowance(budget, spent, tokens, None if cost is None else float(cost))

    def _expected(self, plan: Plan, index: int) -> tuple[int, Any]:
        if plan.learned is not None:
            chosen = (plan.learned.chosen or ())[index]
            return chosen.tokens, chosen.usd
        request, catalog = plan.request(index), self._catalog()
        return expected(catalog, routed(request, catalog)[0], request["endpoint"], request["body"])

    async def _slice(self, run: Run, plan: Plan, start: int, most: int) -> tuple[int, list[NewJob]]:
        """Return the jobs of the next combinations, at most `most`, and the first combination after them."""
        catalog = self._catalog()
        requests = await self._requests(run, plan, start)
        fresh = await self._fresh(run, plan, requests)
        ttft_s = await self._ttft_s(requests)

        def build() -> tuple[int, list[NewJob]]:
            jobs: list[NewJob] = []
            for place, request in enumerate(requests):
                if place in fresh or request is None:
                    continue
                if len(jobs) == most:
                    return start + place, jobs
                try:
                    jobs.append(job_of(run, plan, request, catalog, ttft_s))
                except AutoError:
                    # What was asked for once may have no model now; a template was checked and has to be looked at.
                    if plan.learned is None:
                        raise
            return start + len(requests), jobs

        # Choosing a model means judging the prompt: too long for a whole slice on the loop.
        judged = any(request is not None and is_auto(request["body"]["model"]) for request in requests)
        return await asyncio.to_thread(build) if judged else build()

    async def _requests(self, run: Run, plan: Plan, start: int) -> Sequence[Request]:
        upto = min(run.planned, start + _SLICE)
        if plan.learned is not None:
            return await self._learner.requests(run, (plan.learned.chosen or ())[start:upto])
        return [plan.request(index) for index in range(start, upto)]

    async def _fresh(self, run: Run, plan: Plan, requests: Sequence[Request]) -> set[int]:
        if run.kind != PREWARM:
            return set()
        keys = {place: key_of(run, request) for place, request in enumerate(requests) if request is not None}
        # Two combinations may make one request, where a value is named twice or does not stand in the template.
        first = {key: place for place, key in reversed(keys.items())}
        fresh = await self._freshness.is_fresh(run.tenant_id, list(first), plan.fresh_for_s)
        return {place for place, key in keys.items() if key in fresh or first[key] != place}

    async def _ttft_s(self, requests: Sequence[Request]) -> Mapping[str, float] | None:
        """Return what `auto:fast` goes by, if any request asks for it."""
        if not any(request is not None and request["body"]["model"] == "auto:fast" for request in requests):
            return None
        workers = [each.health for each in await alive(self._engine) if each.kind == "worker"]
        return ttft_by_model(self._catalog(), workers)

    async def _cancel(self, run: Run, start: int) -> None:
        """The run's group was cancelled, maybe while a slice was on its way."""
        late = await cancel_group(self._engine, run.tenant_id, run.id, self._public_url)
        deliveries = await stop_run(self._engine, run, start, "cancelled", self._public_url)
        self._pushed(deliveries + (late.ended.deliveries if late is not None else 0))

    async def _refuse(self, run: Run) -> None:
        start = await stands_at(self._engine, run.id)
        if start is not None and not run.planned:
            self._pushed(await self._learner.refuse(run))
        elif start is not None:
            self._pushed(await stop_run(self._engine, run, start, "refused", self._public_url))

    def _pushed(self, deliveries: int) -> None:
        if deliveries:
            self._work(_WEBHOOKS)
