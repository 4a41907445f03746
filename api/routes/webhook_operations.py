"""The webhook operations as `/openapi.json` tells of them."""

from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

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
_TEXT: Final = {"type": "string"}
_LIMIT: Final = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}


def add_webhook_routes(app: FastAPI) -> None:
    """Add all of them to the application."""
    add = partial(_add, app)
    add("POST", _ENDPOINTS, webhooks.create_endpoint, 201, EndpointWithSecret, body=NewEndpoint, told="Registered.")
    add("GET", _ENDPOINTS, webhooks.list_endpoints, 200, EndpointPage, query=_paged(), problems=(422,), told="A page.")
    add("GET", _ENDPOINT, webhooks.get_endpoint, 200, EndpointOut, told="The endpoint.")
    add("PATCH", _ENDPOINT, webhooks.change_endpoint, 200, EndpointOut, body=EndpointChange, told="As it is now.")
    add("DELETE", _ENDPOINT, webhooks.delete_endpoint, 204, None, told="Forgotten.")
    rotate, test = _ENDPOINT + "/rotate_secret", _ENDPOINT + "/test"
    body: dict[str, Any] = {"body": Rotation, "body_required": False}
    add("POST", rotate, webhooks.rotate_secret, 200, EndpointWithSecret, **body, told="With its new secret.")
    add("POST", test, webhooks.test_endpoint, 200, EndpointTestOut, body=EndpointTest, told="The receiver accepted it.")
    filters: dict[str, Any] = {"query": _delivery_filters(), "problems": (422,)}
    add("GET", _DELIVERIES, webhooks.list_deliveries, 200, DeliveryPage, **filters, told="A page of the log.")
    add("GET", _DELIVERIES + "/{id}", webhooks.get_delivery, 200, DeliveryOut, problems=(422,), told="The delivery.")
    again = _DELIVERIES + "/{id}/redeliver"
    add("POST", again, webhooks.redeliver, 202, DeliveryOut, problems=(409,), told="It will be sent at once.")


def _add(
    app: FastAPI, method: str, path: str, handler: Any, status: int, answer: type[BaseModel] | None, **extra: Any
) -> None:
    parameters = list(extra.pop("query", ()))
    if "{id}" in path:
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": _TEXT})
    described: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if body := extra.pop("body", None):
        described["requestBody"] = _json_body(body, required=extra.pop("body_required", True))
    told = {"description": extra.pop("told")} | ({"model": answer} if answer else {})
    answers: dict[int | str, dict[str, Any]] = {status: told}
    # What a problem looks like is filled in where the document is finished.
    answers |= {problem: {"description": "Problem."} for problem in extra.pop("problems", ())}
    app.add_api_route(
        path,
        handler,
        methods=[method],
        status_code=status,
        tags=["Webhooks"],
        responses=answers,
        openapi_extra=described,
    )


def _json_body(model: type[BaseModel], *, required: bool) -> dict[str, Any]:
    schema = model.model_json_schema()
    for member in schema["properties"].values():
        if model is EndpointChange:
            member.pop("default", None)  # what is left out stays as it is
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _paged() -> list[dict[str, Any]]:
    return [_query("limit", _LIMIT, "Most items."), _query("after", _TEXT, "Items older than this id.")]


def _delivery_filters() -> list[dict[str, Any]]:
    statuses = {"type": "string", "enum": list(DELIVERY_STATUSES)}
    return [
        *_paged(),
        _query("job_id", _TEXT, "Only deliveries of this job's events."),
        _query("endpoint_id", _TEXT, "Only deliveries to this endpoint."),
        _query("status", statuses, "Only deliveries in this state."),
    ]
