"""The lane `webhooks` of a worker process: claim, send, record.

Sending goes on in tasks of the process's event loop; results are collected while a commit is under way and go together
with the next one. A slot is free again only when its result is committed, so the number in flight bounds everything
that a kill can lose: those deliveries are sent again, under the same webhook-id, when their lease ends.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core import ids
from core.secrets import ENDPOINT_WEBHOOK, TENANT_WEBHOOK, SecretBox, SecretUnreadable
from core.settings import WebhookSettings
from core.store.deliveries import DeliveryEnd, DeliveryQueue, DueDelivery, TryResult
from core.store.failures import DATABASE_ERRORS
from core.telemetry.metrics import DELIVERIES
from policies.addresses import Openings
from policies.backoff import webhook_delay
from workers.webhooks.pace import Pace
from workers.webhooks.sender import Outcome, Sender
from workers.webhooks.signing import signed_headers

_log = structlog.get_logger(__name__)

_RECOVER_EVERY_S = 1.0
_COMMIT_MOST = 500
_COMMIT_AGAIN_S = 0.5
_LAST_COMMIT_S = 5.0
# A try's limit covers the exchange; its result still has to be committed.
_LEASE_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Recorded:
    delivery: DueDelivery
    result: TryResult


class WebhookLane:
    """Sends due webhooks. Belongs to one event loop.

    Args:
        queue: where deliveries come from and results go.
        sender: makes the tries; closed by `drain`.
        box: opens signing secrets.
        per_target: most tries in flight to one target.
        schedule_s: waits between the tries of a delivery, in seconds.
        on_room: called when slots became free; the engine should then call `claim_and_send` soon.
    """

    def __init__(
        self,
        queue: DeliveryQueue,
        sender: Sender,
        box: SecretBox,
        *,
        per_target: int,
        schedule_s: tuple[float, ...],
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._sender = sender
        self._box = box
        self._schedule_s = schedule_s
        self._on_room = on_room
        self._pace = Pace(per_target)
        self._rng = random.Random()
        self._sending: dict[asyncio.Task[None], DueDelivery] = {}
        self._unrecorded: list[_Recorded] = []
        self._recording: asyncio.Task[None] | None = None
        self._committing = 0
        self._recover_at = 0.0
        self._claiming = asyncio.Lock()
        self._draining = False

    @property
    def in_flight(self) -> int:
        """Deliveries that are being sent or whose result is not committed yet."""
        return len(self._sending) + len(self._unrecorded) + self._committing

    async def claim_and_send(self, room: int) -> int:
        """Claim up to `room` due deliveries and start to send them; how many. Raises what the database raises."""
        async with self._claiming:
            if room <= 0 or self._draining:
                return 0
            if time.monotonic() >= self._recover_at:
                self._recover_at = time.monotonic() + _RECOVER_EVERY_S
                if lost := await self._queue.recover():
                    _log.warning("webhook_leases_recovered", count=lost)
            claimed = await self._queue.claim(room, self._pace.slow)
            for delivery in claimed:
                task = asyncio.create_task(self._deliver(delivery))
                self._sending[task] = delivery
                task.add_done_callback(lambda over: self._sending.pop(over, None))
            return len(claimed)

    async def drain(self, grace_s: float) -> None:
        """Let tries end for `grace_s` seconds, hand the rest back without counting them, and close the sender."""
        self._draining = True
        async with self._claiming:  # a claim under way still starts its tries
            pass
        if self._sending:
            _, late = await asyncio.wait(list(self._sending), timeout=grace_s)
            for task in late:
                delivery = self._sending.pop(task)
                task.cancel()
                self._record(delivery, TryResult(delivery.id, delivery.lease_no, "pending", counted=False))
            await asyncio.gather(*late, return_exceptions=True)
        if self._recording is not None:
            _, stuck = await asyncio.wait([self._recording], timeout=_LAST_COMMIT_S)
            for task in stuck:
                task.cancel()
        await self._sender.aclose()

    async def _deliver(self, delivery: DueDelivery) -> None:
        if not delivery.wanted:
            off = TryResult(delivery.id, delivery.lease_no, "cancelled", counted=False, last_error="endpoint_disabled")
            self._record(delivery, off)
            return
        try:
            outcome = await self._try(delivery)
        except SecretUnreadable:
            outcome = Outcome(None, "secret_unreadable", 0.0)
        except Exception:  # noqa: BLE001 - a fault of ours must not leave the delivery leased, nor stop the others
            _log.exception("webhook_try_broke", delivery_id=ids.encode(ids.DELIVERY, delivery.id))
            outcome = Outcome(None, "internal_error", 0.0)
        self._tell(delivery, outcome)
        self._record(delivery, self._result(delivery, outcome))

    async def _try(self, delivery: DueDelivery) -> Outcome:
        headers = signed_headers(
            webhook_id=ids.encode(ids.EVENT, delivery.event_id),
            payload=delivery.payload,
            secrets=self._secrets(delivery),
            now=datetime.now(UTC),
            traceparent=delivery.traceparent,
        )
        return await self._sender.post(delivery.url, headers, delivery.payload.encode())

    def _secrets(self, delivery: DueDelivery) -> list[str]:
        purpose = TENANT_WEBHOOK if delivery.endpoint_id is None else ENDPOINT_WEBHOOK
        sealed = [delivery.secret] if delivery.old_secret is None else [delivery.secret, delivery.old_secret]
        return [self._box.open(secret, tenant_id=delivery.tenant_id, purpose=purpose) for secret in sealed]

    def _result(self, delivery: DueDelivery, outcome: Outcome) -> TryResult:
        delay = None
        if outcome.error is not None and outcome.error != "gone" and not delivery.test:
            delay = webhook_delay(
                delivery.tries + 1, retry_after=outcome.retry_after_s, rng=self._rng, schedule=self._schedule_s
            )
        status: DeliveryEnd = "pending"
        if delay is None:
            status = "delivered" if outcome.error is None else "exhausted"
        return TryResult(
            delivery.id,
            delivery.lease_no,
            status,
            delay_s=delay or 0.0,
            last_status=outcome.status,
            last_error=outcome.error,
            last_duration_ms=outcome.duration_ms,
        )

    def _tell(self, delivery: DueDelivery, outcome: Outcome) -> None:
        DELIVERIES.labels(outcome.error or "ok").inc()
        if outcome.error is None:
            self._pace.succeeded(delivery.target)
            return
        self._pace.failed(delivery.target)
        _log.info(
            "webhook_try_failed",
            delivery_id=ids.encode(ids.DELIVERY, delivery.id),
            endpoint_id=ids.encode(ids.ENDPOINT, delivery.endpoint_id) if delivery.endpoint_id else None,
            try_no=delivery.tries + 1,
            status=outcome.status,
            error=outcome.error,
            duration_ms=round(outcome.duration_ms, 1),
        )

    def _record(self, delivery: DueDelivery, result: TryResult) -> None:
        if (task := asyncio.current_task()) is not None:
            # From here on it counts among the results; its task is gone a moment later.
            self._sending.pop(task, None)
        self._unrecorded.append(_Recorded(delivery, result))
        if self._recording is None or self._recording.done():
            self._recording = asyncio.create_task(self._commit_results())

    async def _commit_results(self) -> None:
        while self._unrecorded:
            group = self._unrecorded[:_COMMIT_MOST]
            del self._unrecorded[:_COMMIT_MOST]
            self._committing = len(group)
            try:
                await self._commit(group)
            except DATABASE_ERRORS as failure:
                # Until the leases end these results are still worth recording; after that the fence turns them into
                # nothing.
                _log.warning("webhook_results_not_recorded", count=len(group), error=type(failure).__name__)
                self._unrecorded[:0] = group
                self._committing = 0
                await asyncio.sleep(_COMMIT_AGAIN_S)
                continue
            self._committing = 0
            self._on_room()

    async def _commit(self, group: list[_Recorded]) -> None:
        recorded = await self._queue.finish([entry.result for entry in group])
        gone = {
            entry.delivery.endpoint_id
            for entry in group
            if entry.result.last_error == "gone" and entry.result.id in recorded and entry.delivery.endpoint_id
        }
        if gone:
            await self._queue.disable(sorted(gone))
            _log.warning(
                "webhook_endpoints_disabled", endpoint_ids=[ids.encode(ids.ENDPOINT, gone_id) for gone_id in gone]
            )


def make_lane(
    engine: AsyncEngine,
    process_id: UUID,
    box: SecretBox,
    settings: WebhookSettings,
    *,
    on_room: Callable[[], None] = lambda: None,
) -> WebhookLane:
    """The lane of this process, from its settings. Call it on the event loop that will send.

    Raises:
        ValueError: when an opened range is no network.
    """
    openings = Openings.parse(settings.allow_ranges, http=settings.allow_http, any_port=settings.allow_any_port)
    per_target = settings.max_in_flight_per_endpoint
    # A lease that ends before its try does would send everything twice.
    lease_s = max(settings.lease_s, settings.timeout_s + _LEASE_MARGIN_S)
    return WebhookLane(
        DeliveryQueue(engine, process_id, lease_s=lease_s, per_target=per_target),
        Sender(openings, timeout_s=settings.timeout_s),
        box,
        per_target=per_target,
        schedule_s=settings.schedule_s,
        on_room=on_room,
    )
