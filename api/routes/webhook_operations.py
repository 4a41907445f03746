"""The webhook operations as `/openapi.json` tells of them."""

from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from api.reference.pieces import TEXT, add_operation, query
from api.routes import webhooks
from api.schemas.webhooks import (
    DELIVERY_STATUSES,
    DeliveryOut,
    DeliveryPage,
    EndpointChange,
    EndpointOut,
    EndpointPage,
    EndpointTest,
    EndpointTestOut,
    EndpointWithSecret,
    NewEndpoint,
    Rotation,
)

_ENDPOINTS: Final = "/v1/webhook_endpoints"
_ENDPOINT: Final = _ENDPOINTS + "/{id}"
_DELIVERIES: Final = "/v1/webhook_deliveries"
_DELIVERY: Final = _DELIVERIES + "/{id}"
_LIMIT: Final = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}


def add_webhook_routes(app: FastAPI) -> None:
    """Add all of them to the application."""
    add = partial(add_operation, app, tag="Webhooks")
    made, changed = _json_body(NewEndpoint), _json_body(EndpointChange)
    add("POST", _ENDPOINTS, webhooks.create_endpoint, EndpointWithSecret, "Registered.", status=201, body=made)
    add("GET", _ENDPOINTS, webhooks.list_endpoints, EndpointPage, "A page.", parameters=_paged(), problems=(422,))
    add("GET", _ENDPOINT, webhooks.get_endpoint, EndpointOut, "The endpoint.")
    add("PATCH", _ENDPOINT, webhooks.change_endpoint, EndpointOut, "As it is now.", body=changed)
    add("DELETE", _ENDPOINT, webhooks.delete_endpoint, None, "Forgotten.", status=204)
    rotate, rotation = _ENDPOINT + "/rotate_secret", _json_body(Rotation, required=False)
    add("POST", rotate, webhooks.rotate_secret, EndpointWithSecret, "With its new secret.", body=rotation)
    test, wanted = _ENDPOINT + "/test", _json_body(EndpointTest)
    add("POST", test, webhooks.test_endpoint, EndpointTestOut, "The receiver accepted it.", body=wanted)
    page: dict[str, Any] = {"parameters": _delivery_filters(), "problems": (422,)}
    add("GET", _DELIVERIES, webhooks.list_deliveries, DeliveryPage, "A page of the log.", **page)
    add("GET", _DELIVERY, webhooks.get_delivery, DeliveryOut, "The delivery.", problems=(422,))
    again = _DELIVERY + "/redeliver"
    add("POST", again, webhooks.redeliver, DeliveryOut, "It will be sent at once.", status=202, problems=(409,))


def _json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    schema = model.model_json_schema()
    for member in schema["properties"].values():
        if model is EndpointChange:
            member.pop("default", None)  # what is left out stays as it is
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _paged() -> list[dict[str, Any]]:
    return [query("limit", _LIMIT, "Most items."), query("after", TEXT, "Items older than this id.")]


def _delivery_filters() -> list[dict[str, Any]]:
    statuses = {"type": "string", "enum": list(DELIVERY_STATUSES)}
    return [
        *_paged(),
        query("job_id", TEXT, "Only deliveries of this job's events."),
        query("endpoint_id", TEXT, "Only deliveries to this endpoint."),
        query("status", statuses, "Only deliveries in this state."),
    ]
