"""Choosing among the deployments of a model that have room."""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from policies.balancing import choose
from policies.catalog import Deployment, RoutingPolicy
from policies.hedging import HedgeBudget
from workers.routing.state import DeploymentState

# How much the last job counts in what is typical.
_TYPICAL: Final = 0.2
_WORDS: Final[Mapping[str, str]] = {
    "peak_ewma": "the quicker of two drawn at random",
    "least_in_flight": "the one with the fewest calls under way",
    "weighted": "drawn by weight",
    "cheapest": "the cheapest",
    "lowest_ttft": "the one with the quickest first token",
    "prefix_affinity": "the one that takes requests with this beginning",
}


@dataclass(slots=True, frozen=True)
class Choice:
    """Where a call goes, and why, in words."""

    state: DeploymentState
    reason: str

    @property
    def deployment(self) -> Deployment:
        """What the catalog says of it."""
        return self.state.deployment


@dataclass(slots=True)
class Model:
    """The deployments of one model, and what waits for them in this process."""

    states: tuple[DeploymentState, ...]
    policy: RoutingPolicy
    budget: HedgeBudget
    #: Claimed jobs that have no deployment yet.
    coming: int = 0
    #: Units that a job takes, as of late: a claim does not know at which endpoint its jobs will be.
    typical: float = 1.0
    wanted_until: float = 0.0

    def asked(self, units: int) -> None:
        """A job that takes so many units was given a deployment."""
        self.typical += (units - self.typical) * _TYPICAL


def choose_among(
    model: Model,
    endpoint: str,
    only: Collection[str] | None,
    prefix: Callable[[], bytes | None] | None,
    now: float,
    rng: random.Random,
) -> Choice | None:
    """Return the deployment that takes the next call by the model's policy; None when none has room.

    Args:
        model: whose deployments these are.
        endpoint: what is asked.
        only: names of the deployments to choose from; None for all.
        prefix: returns the request's prefix; called only where the policy goes by it.
        now: seconds on the clock of `workers.routing.state`.
        rng: for policies that draw.
    """
    able = [state for state in model.states if state.deployment.serves(endpoint)]
    open_now = {
        state.name: (state, free)
        for state in able
        if (only is None or state.name in only) and (free := state.free(now)) >= state.weight_of(endpoint)
    }
    if not open_now:
        return None
    policy, balance = model.policy, model.policy.balance
    beginning = prefix() if prefix is not None and balance == "prefix_affinity" else None
    if balance == "prefix_affinity" and beginning is None:
        balance = "peak_ewma"
    found = choose(
        balance, [state.candidate(now, free) for state, free in open_now.values()], rng, prefix=beginning,
        regions=policy.regions,
    )  # fmt: skip
    state = open_now[found.name][0]
    model.asked(state.weight_of(endpoint))
    healthy = sum(other.usable(now) for other in able)
    how = _WORDS[balance] if len(open_now) > 1 else "the only one with room"
    return Choice(state, f"{healthy} of {len(able)} deployments healthy; {how}")
