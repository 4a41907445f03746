"""The engine's side of the webhooks lane: claim again as long as deliveries are due and there is room."""

import asyncio
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.secrets import SecretBox
from core.settings import Settings, WebhookSettings
from core.store.failures import DATABASE_ERRORS
from workers.webhooks.lane import make_lane

_log = structlog.get_logger(__name__)
_DATABASE_PAUSE_S = 0.5


class WebhookClaimer:
    """Keeps the webhooks lane busy.

    Raises:
        SecretKeyMissing: when COATCHECK_SECRET_KEY is not set: without it nothing can be signed.
    """

    def __init__(self, engine: AsyncEngine, process_id: UUID, settings: Settings, webhooks: WebhookSettings) -> None:
        if settings.secret_key is None:
            raise SecretKeyMissing
        box = SecretBox.from_setting(settings.secret_key.get_secret_value())
        self._wake = asyncio.Event()
        self._most = webhooks.max_in_flight
        self._lane = make_lane(engine, process_id, box, webhooks, on_room=self._wake.set)

    def wake(self) -> None:
        """Look for due deliveries soon."""
        self._wake.set()

    async def run(self) -> None:
        """Claim for ever; the engine cancels it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while (room := self._most - self._lane.in_flight) > 0:
                    if await self._lane.claim_and_send(room) < room:
                        break
            except DATABASE_ERRORS as error:
                _log.warning("webhook_claim_failed", error=type(error).__name__)
                await asyncio.sleep(_DATABASE_PAUSE_S)
                self._wake.set()

    async def drain(self, grace_s: float) -> None:
        """Let tries end for ``grace_s`` seconds and hand back the rest."""
        await self._lane.drain(grace_s)


class SecretKeyMissing(Exception):
    """COATCHECK_SECRET_KEY is not set."""

    def __init__(self) -> None:
        super().__init__(
            "COATCHECK_SECRET_KEY is not set, and the webhooks lane signs with what it encrypts. Set the key that the API has, "
            "or leave `webhooks` out of COATCHECK_WORKER_LANES."
        )
