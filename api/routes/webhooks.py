"""Webhook endpoints and the delivery log. The API never dials a receiver itself: workers do, behind the address rules."""

import asyncio
import time
from functools import lru_cache
from typing import Final
from uuid import UUID

from api.answers import Answer, json_answer
from api.auth import ADMIN
from api.lookup import page_answer, page_size, path_id, query_id
from api.problems import Problem, invalid, invalid_query, not_found, unavailable
from api.routing import Call, needs
from api.schemas.webhooks import (
    DELIVERY_STATUSES,
    EndpointChange,
    EndpointTest,
    NewEndpoint,
    Rotation,
    checked,
    render_delivery,
    render_endpoint,
    test_payload,
)
from core import ids
from core.secrets import ENDPOINT_WEBHOOK, SecretBox, new_webhook_secret, secret_hint
from core.store.delivery_log import Delivery, DeliveryLog, NotRedeliverable
from core.store.webhook_endpoints import Endpoint, WebhookEndpoints
from policies.addresses import Openings, UrlRefused, check_url

_LANE: Final = "webhooks"
# A try takes 15 s at most by default; a free worker begins it at once, a sweeping one within a second.
_TEST_WAIT_S: Final = 17.0
_POLL_FIRST_S: Final = 0.02
_POLL_MOST_S: Final = 0.25
_ENDPOINT: Final = "webhook endpoint"
_DELIVERY: Final = "webhook delivery"


@needs(ADMIN)
async def create_endpoint(call: Call) -> Answer:
    """Register a receiver. The answer holds its signing secret, for the only time."""
    wanted = checked(NewEndpoint, await call.json())
    _check_url(wanted.url, call.services.openings)
    endpoint_id, secret = ids.new_id(), new_webhook_secret()
    endpoint = await _endpoints(call).add(
        call.key.tenant_id,
        endpoint_id,
        name=wanted.name or "",
        url=wanted.url,
        event_types=wanted.event_types,
        enabled=wanted.enabled,
        secret=_seal(call, secret),
        hint=secret_hint(secret),
    )
    told = render_endpoint(endpoint, secret)
    location = f"/v1/webhook_endpoints/{told['id']}".encode()
    return json_answer(told, 201, [(b"location", location)])


@needs(ADMIN)
async def list_endpoints(call: Call) -> Answer:
    """The registered receivers, newest first."""
    query = call.query("limit", "after")
    limit, after = page_size(query), query_id(query, "after", ids.ENDPOINT)
    found = await _endpoints(call).page(call.key.tenant_id, after=after, limit=limit + 1)
    return page_answer(found, limit, render_endpoint)


@needs(ADMIN)
async def get_endpoint(call: Call) -> Answer:
    """One receiver."""
    return json_answer(render_endpoint(await _endpoint(call)))


@needs(ADMIN)
async def change_endpoint(call: Call) -> Answer:
    """Change a receiver; what is left out stays as it is."""
    endpoint_id = path_id(call, ids.ENDPOINT, _ENDPOINT)
    change = checked(EndpointChange, await call.json())
    changes = change.model_dump(include=change.model_fields_set)
    if "url" in changes:
        _check_url(changes["url"], call.services.openings)
    if "name" in changes:
        changes["name"] = changes["name"] or ""
    endpoint = await _endpoints(call).change(call.key.tenant_id, endpoint_id, changes)
    return json_answer(render_endpoint(_there(endpoint)))


@needs(ADMIN)
async def delete_endpoint(call: Call) -> Answer:
    """Forget a receiver; what waits for it is cancelled, its log stays."""
    endpoint_id = path_id(call, ids.ENDPOINT, _ENDPOINT)
    await call.no_body()
    if not await _endpoints(call).remove(call.key.tenant_id, endpoint_id):
        raise not_found(_ENDPOINT)
    return Answer(204)


@needs(ADMIN)
async def rotate_secret(call: Call) -> Answer:
    """Sign with a new secret from now on, and with the old one too for 24 hours if asked."""
    endpoint_id = path_id(call, ids.ENDPOINT, _ENDPOINT)
    rotation = checked(Rotation, await call.optional_json())
    secret = new_webhook_secret()
    endpoint = await _endpoints(call).rotate_secret(
        call.key.tenant_id,
        endpoint_id,
        secret=_seal(call, secret),
        hint=secret_hint(secret),
        keep_old=rotation.keep_old_secret_active_for_24_hours,
    )
    return json_answer(render_endpoint(_there(endpoint), secret))


@needs(ADMIN)
async def test_endpoint(call: Call) -> Answer:
    """Send one made-up event at once and tell how the receiver answered."""
    endpoint_id = path_id(call, ids.ENDPOINT, _ENDPOINT)
    wanted = checked(EndpointTest, await call.json())
    endpoint = _there(await _endpoints(call).get(call.key.tenant_id, endpoint_id))
    event_id, delivery_id = ids.new_id(), ids.new_id()
    await _log(call).add_test(
        call.key.tenant_id,
        endpoint,
        event_id=event_id,
        delivery_id=delivery_id,
        event_type=wanted.event_type,
        payload=test_payload(event_id, wanted.event_type),
        traceparent=call.head.traceparent,
    )
    call.services.doorbell.ring(_LANE)
    outcome = await _outcome(call, delivery_id)
    if outcome.status != "delivered":
        raise Problem("webhook_test_failed", _why(outcome))
    return json_answer(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": ids.encode(ids.ENDPOINT, endpoint_id),
            "event_type": wanted.event_type,
            "status_code": outcome.last_status,
            "success": True,
        }
    )


@needs(ADMIN)
async def list_deliveries(call: Call) -> Answer:
    """The delivery log, newest first. It never holds what receivers answered, only status, error and duration."""
    query = call.query("limit", "after", "job_id", "endpoint_id", "status")
    limit, after = page_size(query), query_id(query, "after", ids.DELIVERY)
    status = query.get("status")
    if status is not None and status not in DELIVERY_STATUSES:
        raise invalid_query("status", f"status is one of {', '.join(DELIVERY_STATUSES)}.")
    found = await _log(call).page(
        call.key.tenant_id,
        after=after,
        limit=limit + 1,
        job_id=query_id(query, "job_id", ids.JOB),
        endpoint_id=query_id(query, "endpoint_id", ids.ENDPOINT),
        status=status,
    )
    return page_answer(found, limit, render_delivery)


@needs(ADMIN)
async def get_delivery(call: Call) -> Answer:
    """One delivery."""
    delivery_id = path_id(call, ids.DELIVERY, _DELIVERY)
    call.query()
    delivery = await _log(call).get(call.key.tenant_id, delivery_id)
    if delivery is None:
        raise not_found(_DELIVERY)
    return json_answer(render_delivery(delivery))


@needs(ADMIN)
async def redeliver(call: Call) -> Answer:
    """Send an event again under the same webhook-id: at once if it waits for its next try, else as a new delivery."""
    delivery_id = path_id(call, ids.DELIVERY, _DELIVERY)
    await call.no_body()
    try:
        delivery = await _log(call).redeliver(call.key.tenant_id, delivery_id, ids.new_id())
    except NotRedeliverable as error:
        raise Problem("invalid_state", str(error)) from None
    if delivery is None:
        raise not_found(_DELIVERY)
    call.services.doorbell.ring(_LANE)
    return json_answer(render_delivery(delivery), 202)


async def _outcome(call: Call, delivery_id: UUID) -> Delivery:
    """Wait until the test was tried. No connection is held in between.

    Raises:
        Problem: 503 when no worker tried it in time; then it is not tried any more.
    """
    log, pause = _log(call), _POLL_FIRST_S
    deadline = time.monotonic() + _TEST_WAIT_S
    while time.monotonic() < deadline and not call.services.hub.stopping:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _POLL_MOST_S)
        delivery = await log.get(call.key.tenant_id, delivery_id)
        if delivery is None:
            raise not_found(_ENDPOINT)
        if delivery.status not in ("pending", "sending"):
            return delivery
    await log.cancel_test(call.key.tenant_id, delivery_id)
    raise unavailable("No worker sent the test in time; it was given up.")


def _why(outcome: Delivery) -> str:
    if outcome.last_status is not None:
        return f"The receiver answered with status {outcome.last_status}."
    return f"The receiver could not be reached: {outcome.last_error or 'the endpoint was deleted'}."


def _endpoints(call: Call) -> WebhookEndpoints:
    return WebhookEndpoints(call.services.engine)


def _log(call: Call) -> DeliveryLog:
    return DeliveryLog(call.services.engine)


def _there(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise not_found(_ENDPOINT)
    return endpoint


async def _endpoint(call: Call) -> Endpoint:
    endpoint_id = path_id(call, ids.ENDPOINT, _ENDPOINT)
    return _there(await _endpoints(call).get(call.key.tenant_id, endpoint_id))


def _check_url(url: str, openings: Openings) -> None:
    try:
        check_url(url, openings)
    except UrlRefused as error:
        raise invalid("/url", f"The URL is refused: {error}.", code="webhook_url_refused") from None


def _seal(call: Call, secret: str) -> bytes:
    key = call.services.settings.secret_key
    if key is None:
        raise unavailable("COATCHECK_SECRET_KEY is not set: there is nothing to encrypt the signing secret with.")
    return _box(key.get_secret_value()).seal(secret, tenant_id=call.key.tenant_id, purpose=ENDPOINT_WEBHOOK)


@lru_cache(maxsize=1)
def _box(key: str) -> SecretBox:
    return SecretBox.from_setting(key)
