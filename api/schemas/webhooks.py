"""Webhook endpoints and deliveries: what is checked on the way in, and how they look to the outside."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar, get_args
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from api.problems import invalid_fields
from api.schemas.wording import faults_of
from core import ids
from core.render import moment
from core.store.delivery_log import Delivery
from core.store.webhook_endpoints import Endpoint

EventType = Literal[
    "job.succeeded", "job.failed", "job.cancelled", "job.expired", "group.completed", "schedule.run_completed"
]
DeliveryStatus = Literal["pending", "sending", "delivered", "exhausted", "cancelled"]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
DELIVERY_STATUSES: Final[tuple[str, ...]] = get_args(DeliveryStatus)

EventTypes = Annotated[list[EventType], AfterValidator(lambda wanted: list(dict.fromkeys(wanted)))]
Name = Annotated[str | None, Field(max_length=200, description="For you to recognise it by.")]
Url = Annotated[
    str, Field(min_length=1, max_length=2048, description="https on port 443 or 8443, not on a private network.")
]
Wanted = Annotated[EventTypes, Field(min_length=1, max_length=20, description="The events to send here.")]
Enabled = Annotated[
    bool, Field(description="Nothing is sent to a disabled endpoint, and what waits for it is cancelled.")
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class NewEndpoint(_Strict):
    """A receiver to register."""

    url: Url
    event_types: Wanted = list(EVENT_TYPES)
    name: Name = None
    enabled: Enabled = True


class EndpointChange(_Strict):
    """What to change; members that are left out stay as they are. Enabling also takes back that a 410 disabled it."""

    url: Url = ""
    event_types: Wanted = []
    name: Name = None
    enabled: Enabled = True


class Rotation(_Strict):
    """How to renew the secret."""

    keep_old_secret_active_for_24_hours: bool = Field(
        default=False, description="Sign with the old secret too for 24 hours, so that receivers can change over."
    )


class EndpointTest(_Strict):
    """Which event to pretend."""

    event_type: EventType


class EndpointOut(BaseModel):
    """A registered receiver."""

    id: str
    object: Literal["webhook_endpoint"]
    name: str | None
    url: str
    event_types: list[EventType]
    enabled: bool
    disabled_reason: str | None = Field(description="`disabled` by you, or `gone`: its receiver answered 410.")
    signing_secret_hint: str
    created_at: datetime


class EndpointWithSecret(EndpointOut):
    """A receiver and the secret that was just made for it."""

    signing_secret: str = Field(description="Shown once.")


class EndpointPage(BaseModel):
    """Receivers, newest first."""

    object: Literal["list"]
    data: list[EndpointOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class EndpointTestOut(BaseModel):
    """How the receiver took the test."""

    object: Literal["webhook_endpoint.test"]
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: Literal[True]


class DeliveryOut(BaseModel):
    """One event on its way to one receiver."""

    id: str
    object: Literal["webhook_delivery"]
    event_id: str = Field(description="Sent as webhook-id, the same for all tries and redeliveries.")
    event_type: EventType
    job_id: str | None
    group_id: str | None
    endpoint_id: str | None = Field(description="Null for a job's own webhook URL.")
    url: str
    status: DeliveryStatus
    test: bool
    tries: int
    next_try_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    last_duration_ms: float | None
    created_at: datetime
    delivered_at: datetime | None


class DeliveryPage(BaseModel):
    """Deliveries, newest first."""

    object: Literal["list"]
    data: list[DeliveryOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], value: dict[str, Any]) -> M:
    """Return the checked request.

    Raises:
        Problem: 422 that names every field at fault.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(faults_of(error)) from None


def render_endpoint(endpoint: Endpoint, signing_secret: str | None = None) -> dict[str, Any]:
    """Return the WebhookEndpoint of the contract; the secret only when it was just made."""
    told = {
        "id": ids.encode(ids.ENDPOINT, endpoint.id),
        "object": "webhook_endpoint",
        "name": endpoint.name or None,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "signing_secret_hint": endpoint.secret_hint,
        "created_at": moment(endpoint.created_at),
    }
    return told if signing_secret is None else told | {"signing_secret": signing_secret}


def render_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return one line of the delivery log."""
    return {
        "id": ids.encode(ids.DELIVERY, delivery.id),
        "object": "webhook_delivery",
        "event_id": ids.encode(ids.EVENT, delivery.event_id),
        "event_type": delivery.event_type,
        "job_id": _named(ids.JOB, delivery.job_id),
        "group_id": _named(ids.GROUP, delivery.group_id),
        "endpoint_id": _named(ids.ENDPOINT, delivery.endpoint_id),
        "url": delivery.url,
        "status": delivery.status,
        "test": delivery.test,
        "tries": delivery.tries,
        "next_try_at": moment(delivery.next_try_at) if delivery.status == "pending" else None,
        "last_status_code": delivery.last_status,
        "last_error": delivery.last_error,
        "last_duration_ms": None if delivery.last_duration_ms is None else round(delivery.last_duration_ms, 2),
        "created_at": moment(delivery.created_at),
        "delivered_at": moment(delivery.delivered_at),
    }


def test_payload(event_id: UUID, event_type: str) -> str:
    """Return an event that looks like a real one and says that it is none."""
    now = datetime.now(UTC)
    kind, _, status = event_type.partition(".")
    data = {"id": f"test_{kind}", "object": kind, "status": status, "test": True}
    event = {
        "id": ids.encode(ids.EVENT, event_id),
        "object": "event",
        "type": event_type,
        "created_at": int(now.timestamp()),
        "timestamp": moment(now),
        "data": data,
    }
    return orjson.dumps(event).decode()


def _named(prefix: str, value: UUID | None) -> str | None:
    return None if value is None else ids.encode(prefix, value)
