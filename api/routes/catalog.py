"""What can be asked for."""

from typing import Any

from api.answers import Answer, json_answer
from api.auth import JOBS_READ
from api.routing import Call, needs
from policies.catalog import Catalog


def listed(data: list[dict[str, Any]]) -> Answer:
    """Return all there is as a list."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return json_answer({"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last})


@needs(JOBS_READ)
async def get_models(call: Call) -> Answer:
    """Return the models that jobs may name, as OpenAI lists its own."""
    call.query()
    return listed(
        [_model(call.services.catalog, name, int(call.services.started_at)) for name in call.services.catalog.models]
    )


def _model(catalog: Catalog, name: str, created: int) -> dict[str, Any]:
    deployment = catalog.deployment_for(name)
    owner = deployment.owned_by if deployment else "coatcheck"
    endpoints = sorted(deployment.endpoints) if deployment else []
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "endpoints": endpoints}
