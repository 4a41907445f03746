"""A process's part of a deployment's limits: what it may use until it hears otherwise. Arithmetic only.

Calls at once are a level: a process may have as many under way as it holds slots. Requests and tokens a minute are a stock: a
process holds some, uses them up, and gets more. What it gives back it stops using before it says so, so the parts of all
processes together never exceed the limit (``share.lua`` keeps the books).
"""

import math
from typing import Any, Final

from policies.catalog import Deployment

# A stock for so long is held at once: enough for a burst between two exchanges, and little to lose with a process that dies.
_STOCK_S: Final = 5.0
_TOKENS_AT_LEAST: Final = 16_000
_LEFT_FOR_NEWCOMERS: Final = 8


def unhurried(slots: int) -> int:
    """Return how many of ``slots`` that nobody needs may be held in advance: the rest is there for a process that comes new."""
    return slots - slots // _LEFT_FOR_NEWCOMERS


class Part:
    """What this process may use of one deployment.

    Attributes:
        slots: calls at once.
        limit: calls at once of all workers together, as last heard.
        target: slots that a fair division gives this process; below ``slots`` it gives the difference back.
        metered: whether requests or tokens a minute are limited.
    """

    __slots__ = (
        "_per_minute", "_stock", "_targets", "_told", "_used", "ceiling", "floor", "limit", "metered", "slots", "target",
    )  # fmt: skip

    def __init__(self, deployment: Deployment) -> None:
        self.slots = 0
        self.limit = deployment.max_concurrency
        self.target = unhurried(deployment.max_concurrency)
        self._stock = [0.0, 0.0]
        self._used = [0, 0]
        self._told = [0, 0]
        self._targets = [math.inf, math.inf]
        self.renew(deployment)

    def renew(self, deployment: Deployment) -> None:
        """Take over the limits of the catalog."""
        self.ceiling = deployment.max_concurrency
        self.floor = min(deployment.min_concurrency, self.ceiling)
        self.limit = min(max(self.limit, self.floor), self.ceiling)
        self._per_minute = (deployment.requests_per_minute, deployment.tokens_per_minute)
        self.metered = self._per_minute != (None, None)
        if deployment.provider == "local":
            self.slots = self.limit = self.ceiling

    @property
    def calls_left(self) -> int:
        """How many calls the stocks allow now."""
        requests, tokens = self._per_minute
        if tokens is not None and self._stock[1] <= 0:
            return 0
        return max(0, int(self._stock[0])) if requests is not None else 2**31

    def spend(self, requests: int, tokens: int) -> None:
        """Take a call's requests and estimated tokens out of the stocks; they may go below zero by the last call's."""
        for at, amount in enumerate((requests, tokens)):
            self._stock[at] -= amount
            self._used[at] += amount

    def settle(self, more_tokens: int) -> None:
        """The call used so many more tokens than estimated, or fewer."""
        self.spend(0, more_tokens)

    def report(self, in_use: int) -> dict[str, Any]:
        """Give back what is not due to us, and return what is told about the rest (see ``share.lua``).

        Args:
            in_use: slots that can't be given back now.
        """
        self.slots = min(self.slots, self.target)
        for at in (0, 1):
            self._stock[at] = min(self._stock[at], self._targets[at])
        self._told = list(self._used)
        wants = [self._most(at, limit) for at, limit in enumerate(self._per_minute)]
        return {
            "hold": [max(self.slots, in_use), *self._stock],
            "want": [max(self.target, in_use), *map(min, wants, self._targets)],
            "caps": [self.ceiling, *self._per_minute],
            "used": self._told,
        }

    def heard(self, held: list[float], limit: float) -> None:
        """Take the answer to the last report."""
        self.limit = max(self.floor, int(limit))
        # It may hold more, for calls that are still under way; new ones are started up to what is due to it.
        self.slots = min(int(held[0]), self.target)
        for at in (0, 1):
            since = self._used[at] - self._told[at]
            self._used[at] = since
            self._stock[at] = held[at + 1] - since
        self._told = [0, 0]

    def divide(self, slots: int, left: list[float], share: float) -> None:
        """Set what is due to us from now on.

        Args:
            slots: calls at once.
            left: requests and tokens of this minute that nobody has used yet.
            share: our part of those, between 0 and 1.
        """
        self.target = slots
        for at, limit in enumerate(self._per_minute):
            if limit is not None:
                # A part of one request would be no use to anybody.
                self._targets[at] = max(1.0, left[at] * share)

    def alone(self, workers: int, seconds: float) -> None:
        """Nobody answers: use an even part of the limits, refilled for the ``seconds`` that have passed."""
        self.slots = self.target = max(1, self.limit // max(1, workers))
        for at, limit in enumerate(self._per_minute):
            if limit is not None:
                rate = limit / 60 / max(1, workers)
                most = max(1.0, rate * _STOCK_S)
                self._stock[at] = min(most, self._stock[at] + rate * seconds)

    def _most(self, at: int, limit: int | None) -> float:
        if limit is None:
            return 0.0
        least = 1.0 if at == 0 else min(limit, _TOKENS_AT_LEAST)
        return float(max(math.ceil(limit / 60 * _STOCK_S), least))
