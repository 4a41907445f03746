"""What a worker does beside running jobs: webhooks, maintenance, schedules, warm deployments and upstreams' Batch APIs."""

from collections.abc import Coroutine
from typing import Any

from workers.maintenance import Maintenance
from workers.schedules.clock import ScheduleClock
from workers.schedules.warmth import WarmthKeeper
from workers.upstream_batches import UpstreamBatches
from workers.webhooks.claimer import WebhookClaimer


class Duties:
    """The duties of one process, by its lanes; None is one that others have.

    Args:
        webhooks: of the lane ``webhooks``.
        maintenance, schedules: of the lane ``maintenance``.
        batches: of the lane ``bulk``.
        warmth: everybody's.
    """

    def __init__(
        self,
        *,
        webhooks: WebhookClaimer | None,
        maintenance: Maintenance | None,
        schedules: ScheduleClock | None,
        batches: UpstreamBatches | None,
        warmth: WarmthKeeper,
    ) -> None:
        self._webhooks = webhooks
        self._maintenance = maintenance
        self._schedules = schedules
        self._batches = batches
        self._warmth = warmth

    @property
    def batched(self) -> frozenset[str]:
        """The models whose bulk jobs are left to a Batch API."""
        return frozenset() if self._batches is None else self._batches.models

    @property
    def delivers(self) -> bool:
        """Whether this process sends webhooks."""
        return self._webhooks is not None

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what has to run in the background, by name."""
        found = {
            "upstream-batches": self._batches,
            "webhooks": self._webhooks,
            "maintenance": self._maintenance,
            "schedules": self._schedules,
            "keep-warm": self._warmth,
        }
        return {name: part.run() for name, part in found.items() if part is not None}

    def wake(self, lane: str) -> None:
        """There is, or may be, work in ``lane``; ``schedules`` stands for schedules that are due."""
        if lane == "webhooks" and self._webhooks is not None:
            self._webhooks.wake()
        if lane == "maintenance" and self._maintenance is not None:
            self._maintenance.wake()
        if lane in ("maintenance", "schedules") and self._schedules is not None:
            self._schedules.wake()

    def pause(self) -> None:
        """Hand no more jobs to Batch APIs."""
        if self._batches is not None:
            self._batches.paused = True

    async def drain(self, seconds: float) -> None:
        """Let deliveries that are being sent end."""
        if self._webhooks is not None:
            await self._webhooks.drain(seconds)
