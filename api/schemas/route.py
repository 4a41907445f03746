"""Asking which model a request would get: what is sent, and what comes back."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.problems import Fault, Problem, invalid_fields
from api.schemas.bodies import BODIES
from api.schemas.job_request import Endpoint
from api.schemas.wording import faults_of


class RouteRequest(BaseModel):
    """A job request without its options."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    endpoint: Endpoint = Field(description="Which OpenAI-style operation the body is for.")
    body: dict[str, Any] = Field(description="That operation's request; `model` may be `auto`.")


class ConsideredModel(BaseModel):
    """A model that was looked at."""

    model: str
    chosen: bool
    reason: str


class Route(BaseModel):
    """Which model the request would get."""

    object: Literal["route"]
    model: str
    tier: Literal["simple", "medium", "complex", "reasoning"] | None = Field(
        description="How demanding the prompt seems; null for operations that are not routed by it."
    )
    confidence: float | None = Field(description="Of the tier, from 0 to 1.")
    reason: str
    considered: list[ConsideredModel] = Field(description="The chosen model first.")


def check_route(value: Any) -> RouteRequest:
    """Return the checked request.

    Raises:
        Problem: 422 that names every field at fault.
    """
    if not isinstance(value, dict):
        fault = Fault("", "Must be a JSON object.")
        raise Problem("invalid_request", "A request must be a JSON object.", errors=[fault])
    try:
        request = RouteRequest.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(faults_of(error)) from None
    try:
        BODIES[request.endpoint].model_validate(request.body)
    except ValidationError as error:
        raise invalid_fields(faults_of(error, "/body")) from None
    return request
