"""A call that gets a second one at another deployment when it takes longer than usual, and what the trail is told of the two."""

from collections.abc import Callable

from core.telemetry.metrics import HEDGES
from policies.costs import cost_usd, estimate
from policies.failover import Plan
from policies.hedging import HedgeBudget
from workers.engine.calls import BYTES_PER_TOKEN, Calls
from workers.engine.job import Job
from workers.engine.race import OnDelta, Race
from workers.engine.trail import Trail
from workers.providers.protocol import ProviderError, Reply
from workers.routing.choosing import Choice
from workers.routing.router import Router
from workers.routing.state import DeploymentState


class HedgedCall:
    """One call of an attempt, and perhaps a second one.

    Args:
        job: whose attempt.
        first: where the call goes.
        after_ms: milliseconds without a beginning of an answer after which a second one may go elsewhere.
        model: the model of both.
        budget: says whether a second one is allowed at all.
        plan: returns the plan of the attempt's way.
        router: chooses the second deployment.
        calls: makes them.
        trail: told where the answer came from, and what the other one cost.
    """

    def __init__(  # noqa: PLR0913 - what an attempt has together when it comes to the call
        self,
        job: Job,
        first: Choice,
        after_ms: float,
        *,
        model: str,
        budget: HedgeBudget,
        plan: Callable[[], Plan],
        router: Router,
        calls: Calls,
        trail: Trail,
    ) -> None:
        self._job = job
        self._first = first
        self._after_ms = after_ms
        self._model = model
        self._budget = budget
        self._plan = plan
        self._router = router
        self._trail = trail
        self._calls = calls

    async def run(self, on_delta: OnDelta | None) -> Reply:
        """Return the first answer.

        Raises:
            ProviderError: when neither brought one; ``trail.choice`` is where it came from.
        """
        race = Race(self._calls.make, on_delta)
        try:
            reply = await race.run(self._first.state, self._after_ms / 1000, self._second)
        except ProviderError:
            self._tell_of_failure(race)
            raise
        self._tell_of_answer(race)
        return reply

    def _second(self) -> DeploymentState | None:
        """Return where a second request goes, if one may be sent."""
        first, router = self._first.state, self._router
        if not self._budget.may_hedge():
            return None
        plan = self._plan()
        tried = set(plan.tried) | {first.name}
        others = [one.name for one in router.catalog.deployments_for(self._model) if one.name not in tried]
        choice = router.choose(self._model, self._job.endpoint, only=others) if others else None
        if choice is None:
            self._budget.give_back()
            return None
        plan.begin(choice.state.name, self._model)
        choice.state.record.hedges += 1
        self._trail.choice = Choice(
            choice.state, f"{first.name} took longer than its usual {self._after_ms:.0f} ms; {choice.reason}"
        )
        return choice.state

    def _tell_of_failure(self, race: Race) -> None:
        if race.failed is self._first.state:
            self._trail.choice = self._first
        raised = None if race.failed is None else race.failed.name
        self._trail.fallbacks += [
            {"deployment": name, "code": error.code} for name, error in race.errors.items() if name != raised
        ]

    def _tell_of_answer(self, race: Race) -> None:
        if race.loser is None or race.winner is None:
            return
        first_won = race.winner is self._first.state
        if first_won:
            self._trail.choice = self._first
        HEDGES.labels(self._model, "lost" if first_won else "won").inc()
        code = race.loser_error.code if race.loser_error is not None else "slower"
        self._trail.fallbacks.append({"deployment": race.loser.name, "code": code})
        price = race.loser.deployment.price
        if race.loser_reply is not None:
            # Both answered in the same moment: the second answer is thrown away and paid for.
            cost = cost_usd(price, race.loser_reply.usage)
        elif race.loser_error is None:
            # It was broken off, and nobody says what it had cost by then. Its input was read, so that much is booked.
            cost = estimate(price, len(self._job.body) // BYTES_PER_TOKEN, 0)
        else:
            return
        if cost is not None:
            self._trail.costs.append(cost)
