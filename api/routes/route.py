"""POST /v1/route: which model a request would get, and why, without running it."""

from collections.abc import Mapping
from typing import Any

from api.answers import Answer, json_answer
from api.auth import JOBS_READ
from api.auto import route
from api.problems import invalid
from api.routing import Call, needs
from api.schemas.route import RouteRequest, check_route
from core.auto import judge, prompt_of
from policies.catalog import TEXT_ENDPOINTS, Catalog


@needs(JOBS_READ)
async def show_route(call: Call) -> Answer:
    """Return the model that the request would get."""
    call.query()
    services = call.services
    return json_answer(route_as_json(check_route(await call.json()), services.catalog, services.ttft_s))


def route_as_json(request: RouteRequest, catalog: Catalog, ttft_s: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the decision and all models that were considered.

    Raises:
        Problem: 422 when there is no such model or none fits.
    """
    decision = route(request.endpoint, request.body, catalog, ttft_s)
    if decision is None:
        return _named(request, catalog)
    chosen = {"model": decision.model, "chosen": True, "reason": "chosen"}
    others = [{"model": model, "chosen": False, "reason": why} for model, why in decision.passed_over]
    return {
        "object": "route",
        "model": decision.model,
        "tier": decision.tier,
        "confidence": decision.confidence,
        "reason": decision.reason,
        "considered": [chosen, *others],
    }


def _named(request: RouteRequest, catalog: Catalog) -> dict[str, Any]:
    """The answer for a request that names its model: nothing is chosen, but how hard it seems may be worth knowing."""
    name: str = request.body["model"]
    model = catalog.resolve(name)
    deployments = catalog.deployments_for(name)
    if not deployments:
        raise invalid(
            "/body/model", f"There is no model {name!r}; GET /v1/models lists those there are.", code="unknown_model"
        )
    if not any(deployment.serves(request.endpoint) for deployment in deployments):
        raise invalid(
            "/endpoint", f"The model {name!r} does not serve {request.endpoint}.", code="unsupported_endpoint"
        )
    verdict = judge(prompt_of(request.body)) if request.endpoint in TEXT_ENDPOINTS else None
    reason = "the request names its model" if model == name else f"the request names {name}, an alias of {model}"
    return {
        "object": "route",
        "model": model,
        "tier": verdict.tier if verdict else None,
        "confidence": verdict.confidence if verdict else None,
        "reason": reason if verdict is None else f"{reason}; its prompt {_seems(verdict.reason)}",
        "considered": [{"model": model, "chosen": True, "reason": reason}],
    }


def _seems(reason: str) -> str:
    return reason if reason.startswith("looks ") else f"may be {reason}"
