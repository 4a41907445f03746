"""What an attempt met on its way over deployments: the books that its outcome is written from."""

from dataclasses import dataclass, field
from decimal import Decimal

from policies.catalog import Deployment
from workers.engine.economy import Economy
from workers.routing.choosing import Choice


@dataclass(slots=True)
class Trail:
    """What an attempt met on its way.

    Attributes:
        choice: the deployment of the last call.
        fallbacks: deployments that were tried before or beside it, and what became of that.
        costs: of calls beside the one that answered, as far as they are known.
        why: why there was another deployment after the first, in words.
        lost_ms: time spent with deployments that failed.
        economy: what was saved of the request, where its model is thrifty.
        thrift_ms: how long that took, with the call that summarises.
    """

    choice: Choice | None = None
    fallbacks: list[dict[str, str]] = field(default_factory=list)
    costs: list[Decimal] = field(default_factory=list)
    why: str | None = None
    lost_ms: float = 0.0
    economy: Economy | None = None
    thrift_ms: float | None = None

    @property
    def deployment(self) -> Deployment | None:
        """Where the last call went."""
        return None if self.choice is None else self.choice.deployment

    @property
    def reason(self) -> str | None:
        """Why it went there, in words."""
        if self.choice is None:
            return None
        thrift = f"thrift: {', '.join(self.economy.done)}" if self.economy is not None and self.economy.done else None
        return "; ".join(part for part in (self.why, self.choice.reason, thrift) if part)
