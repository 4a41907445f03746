"""Choosing the deployment of each call, and saying how many jobs of each model this process can take.

A model whose deployments are down, resting or full has no room: its jobs wait in the queue, where they burn no attempts and stand
in nobody's way. Choosing costs some microseconds, and nothing at all is decided where there is nothing to choose from.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from policies.catalog import Catalog, Deployment, RoutingPolicy
from policies.hedging import HedgeBudget
from workers.routing.choosing import Choice, Model, choose_among
from workers.routing.line import Line
from workers.routing.state import DeploymentState, clock

# Jobs whose model left the catalog are claimed all the same: they fail with that reason instead of waiting for ever.
_STRANGERS_AT_ONCE: Final = 16
# A little longer than the pause between two looks at the queue.
_WANTED_S: Final = 1.5
_DOWN_PAUSE_S: Final = (0.25, 30.0)


class Router:
    """The deployments of the catalog in force, as this process sees them. Lives on the engine's loop.

    Attributes:
        served: the deployment of each model that has but one.

    Args:
        catalog: the first one; ``adopt`` brings others.
        freed: called when a model that had no room has some again.
        calls: returns the upstream calls under way of a deployment whose jobs share calls.
    """

    def __init__(
        self,
        catalog: Catalog,
        freed: Callable[[], None] = lambda: None,
        *,
        calls: Callable[[Deployment], int] = lambda _: 0,
        rng: random.Random | None = None,
    ) -> None:
        self._rng = rng or random.Random()
        self._calls = calls
        self._freed = freed
        self._models: dict[str, Model] = {}
        self._line = Line()
        self._strangers: frozenset[str] = frozenset()
        self._hungry = asyncio.Event()
        self.states: dict[str, DeploymentState] = {}
        self.served: dict[str, str] = {}
        self.catalog = catalog
        self._take_over(catalog)

    def adopt(self, catalog: Catalog) -> None:
        """Go by this catalog from now on. Deployments that stay keep their history; calls under way end as they began."""
        self._take_over(catalog)
        self._hungry.set()
        self.stir()

    def _take_over(self, catalog: Catalog) -> None:
        states = {}
        for deployment in catalog.deployments:
            known = self.states.get(deployment.name)
            if known is None or known.deployment.base_url != deployment.base_url:
                known = DeploymentState(deployment)
            known.renew(deployment)
            states[deployment.name] = known
        models = {}
        for model in catalog.models:
            own = tuple(states[deployment.name] for deployment in catalog.deployments_for(model))
            before = self._models.get(model)
            models[model] = Model(own, catalog.policy(model), before.budget if before else HedgeBudget())
            if before:
                models[model].coming = before.coming
            for state in own:
                state.siblings = len(own) - 1
        self.catalog, self.states, self._models = catalog, states, models
        self.served = {name: model.states[0].name for name, model in models.items() if len(model.states) == 1}

    # --- what can be taken ---

    def room(self) -> dict[str, int]:
        """Return how many more jobs of each model can be started now, of all models that waiting jobs may have."""
        now = clock()
        room = {name: self._room(model, now) for name, model in self._models.items()}
        for name in self._strangers:
            known = self.catalog.resolve(name)
            room[name] = room.get(known, 0) if known in self._models else _STRANGERS_AT_ONCE
        return room

    def _room(self, model: Model, now: float) -> int:
        states = model.states
        free = states[0].free(now) if len(states) == 1 else sum(state.free(now) for state in states)
        if not free and model.policy.fallbacks and not any(state.usable(now) for state in states):
            free = sum(state.free(now) for other in self._fallbacks(model, now) for state in other.states)
        return max(0, int(free / model.typical) - model.coming)

    def _fallbacks(self, model: Model, now: float) -> Iterable[Model]:
        """The models that serve this one's jobs while all its own deployments are away."""
        resting = any(state.rest_until > now for state in model.states)
        names = model.policy.fallbacks.get("overload" if resting else "outage", ())
        return (self._models[known] for name in names if (known := self.catalog.resolve(name)) in self._models)

    def waiting(self, models: Collection[str]) -> None:
        """Jobs of these models wait in the queue, as a look at it has just shown; others may be in need of nothing."""
        self._strangers = frozenset(models) - self._models.keys()
        room = self.room()
        self.short_of(name for name in models if not room.get(name, 0))

    def short_of(self, models: Iterable[str]) -> None:
        """There are more jobs of these models than there was room for."""
        now = clock()
        for name in models:
            model = self._models.get(self.catalog.resolve(name))
            if model is not None:
                if model.wanted_until <= now:
                    self._hungry.set()
                model.wanted_until = now + _WANTED_S

    def demand(self, state: DeploymentState, now: float) -> int:
        """Return how many slots of a deployment this process could use."""
        model = self._models.get(state.deployment.model)
        wanted = model is not None and model.wanted_until > now
        return state.part.limit if wanted else self.slots_in_use(state)

    def slots_in_use(self, state: DeploymentState) -> int:
        """Return how many calls a deployment's jobs make, or need at least."""
        need = -(-state.units // state.merge)
        return need if state.merge == 1 else max(need, self._calls(state.deployment))

    async def hunger(self) -> None:
        """Wait until a model runs short of room."""
        await self._hungry.wait()
        self._hungry.clear()

    # --- choosing ---

    def expect(self, model: str) -> None:
        """A job of this model was claimed and will soon ask for a deployment."""
        if (known := self._models.get(self.catalog.resolve(model))) is not None:
            known.coming += 1

    def arrived(self, model: str) -> None:
        """The job that was expected has its deployment, or needs none any more."""
        if (known := self._models.get(self.catalog.resolve(model))) is not None:
            known.coming = max(0, known.coming - 1)

    def away(self, model: str, endpoint: str) -> bool:
        """Whether no deployment of ``model`` may be called at ``endpoint`` now: broken or resting, not merely full."""
        known, now = self._models.get(self.catalog.resolve(model)), clock()
        return known is None or not any(
            state.usable(now) for state in known.states if state.deployment.serves(endpoint)
        )

    def has_room(self, state: DeploymentState, endpoint: str) -> bool:
        """Whether one more job at ``endpoint`` may go there now."""
        return state.free(clock()) >= state.weight_of(endpoint)

    def serves(self, model: str, endpoint: str) -> bool:
        """Whether any deployment of ``model`` answers ``endpoint``."""
        known = self._models.get(self.catalog.resolve(model))
        return known is not None and any(state.deployment.serves(endpoint) for state in known.states)

    def choose(
        self,
        model: str,
        endpoint: str,
        *,
        only: Collection[str] | None = None,
        prefix: Callable[[], bytes | None] | None = None,
    ) -> Choice | None:
        """Return the deployment that takes the next call of ``model``, or None when there is none with room now.

        Args:
            model: a model of the catalog.
            endpoint: what is asked of it.
            only: names of the deployments to choose from; None for all.
            prefix: returns the request's prefix; called only where a policy goes by it.
        """
        known = self._models.get(self.catalog.resolve(model))
        if known is None:
            return None
        now = clock()
        states = known.states
        if len(states) == 1 and only is None:
            state = states[0]
            if state.free(now) < state.weight_of(endpoint) or not state.deployment.serves(endpoint):
                return None
            known.asked(state.weight_of(endpoint))
            return Choice(state, state.reason)
        return choose_among(known, endpoint, only, prefix, now, self._rng)

    def fallback(self, model: str, endpoint: str) -> tuple[str, Choice] | None:
        """Return a fallback model's deployment for a model whose own are all away, and the model's name; None for none."""
        known = self._models.get(self.catalog.resolve(model))
        if known is None or not self.away(model, endpoint):
            return None
        for other in self._fallbacks(known, clock()):
            name = other.states[0].deployment.model
            found = self.choose(name, endpoint)
            if found is not None:
                return name, Choice(
                    found.state, f"all deployments of {model} are away: fallback to {name}; {found.reason}"
                )
        return None

    def policy(self, model: str) -> RoutingPolicy:
        """Return how jobs of ``model`` are routed."""
        return self.catalog.policy(model)

    def budget(self, model: str) -> HedgeBudget | None:
        """Return what limits the second requests of a model."""
        known = self._models.get(self.catalog.resolve(model))
        return None if known is None else known.budget

    def called(self, deployment: Deployment) -> None:
        """An upstream call begins; counts where several jobs may share one."""
        state = self.states.get(deployment.name)
        if state is not None and state.merge > 1 and state.part.metered:
            state.part.spend(1, 0)

    def pause_s(self, model: str) -> float:
        """Return after how many seconds a job of ``model`` should look again, when none of its deployments can take it."""
        known, now = self._models.get(self.catalog.resolve(model)), clock()
        away = [
            until - now for state in (known.states if known else ()) if (until := state.breaker.retry_at) is not None
        ]
        low, high = _DOWN_PAUSE_S
        # With a spread, so that what was turned away together doesn't come back together.
        return min(high, max(low, min(away, default=0.0))) * self._rng.uniform(1.0, 1.5)

    async def until_room(self, model: str, seconds: float) -> bool:
        """Wait until a slot of ``model`` came free; tell whether one did in time."""
        return await self._line.wait(model, seconds)

    def released(self, state: DeploymentState) -> None:
        """A call of ``state`` ended."""
        # If it was full, or nearly so, a claim may have passed its model over.
        if not self._line.next(state.deployment.model) and state.nearly_full:
            self._freed()

    def stir(self) -> None:
        """Slots may have come from elsewhere: let everybody look again."""
        self._line.all()
        self._freed()

    def report(self) -> dict[str, dict[str, Any]]:
        """Return what may be shown of each deployment. Called on the heartbeat's thread."""
        return {name: state.shown() for name, state in list(self.states.items())}
