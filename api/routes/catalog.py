"""What can be asked for, and how those who serve it are doing."""

from typing import Any

from api.answers import Answer, json_answer
from api.auth import ADMIN, JOBS_READ
from api.routing import Call, needs
from core.presence import alive
from policies.catalog import Catalog, Deployment


def _listed(data: list[dict[str, Any]]) -> Answer:
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return json_answer({"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last})


@needs(JOBS_READ)
async def get_models(call: Call) -> Answer:
    """Return the models that jobs may name, as OpenAI lists its own."""
    call.query()
    return _listed(
        [_model(call.services.catalog, name, int(call.services.started_at)) for name in call.services.catalog.models]
    )


def _model(catalog: Catalog, name: str, created: int) -> dict[str, Any]:
    deployment = catalog.deployment_for(name)
    owner = deployment.owned_by if deployment else "coatcheck"
    endpoints = sorted(deployment.endpoints) if deployment else []
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "endpoints": endpoints}


@needs(ADMIN)
async def get_deployments(call: Call) -> Answer:
    """Return the upstreams with what the living workers report of them."""
    call.query()
    workers = [process.health for process in await alive(call.services.engine) if process.kind == "worker"]
    return _listed([_deployment(deployment, workers) for deployment in call.services.catalog.deployments])


def _deployment(deployment: Deployment, workers: list[dict[str, object]]) -> dict[str, Any]:
    reports = [found for health in workers if (found := _report(health, deployment.name)) is not None]
    return {
        "id": deployment.name,
        "object": "deployment",
        "model": deployment.model,
        "provider": deployment.provider,
        "region": deployment.region,
        "endpoints": sorted(deployment.endpoints),
        "max_concurrency": deployment.max_concurrency,
        "workers": len(workers),
        "in_flight": sum(int(report.get("in_flight", 0)) for report in reports),
        "reports": reports,
    }


def _report(health: dict[str, object], name: str) -> dict[str, Any] | None:
    deployments = health.get("deployments")
    found = deployments.get(name) if isinstance(deployments, dict) else None
    return found if isinstance(found, dict) else None
