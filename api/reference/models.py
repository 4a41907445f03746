"""The operations on models: what there is, where a request would go, what was used."""

from typing import Final

from api.reference.pieces import TEXT, Operation, answer, query, ref, typed_id
from api.schemas import answers as a
from api.schemas import route as r
from core import ids

_ROUTE_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": ref(r.RouteRequest),
            "example": {
                "endpoint": "/v1/chat/completions",
                "body": {
                    "model": "auto",
                    "messages": [{"role": "user", "content": "Prove that sqrt(2) + sqrt(3) is irrational."}],
                },
            },
        }
    },
}
MODELS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/v1/models"): (
        "List models", "What `body.model` may name.", [], None, {200: answer("The models.", a.ModelPage)}, (422,),
    ),
    ("GET", "/v1/deployments"): (
        "List deployments",
        "The upstreams behind the models and how they are doing.",
        [],
        None,
        {200: answer("The deployments.", a.DeploymentPage)},
        (422,),
    ),
    ("POST", "/v1/route"): (
        "Ask for a route",
        ("Which model a request would get, and why, without running it. With `body.model` `auto`, `auto:cheap`, `auto:fast` or "
        "`auto:best` a small classifier judges how demanding the prompt is, and the catalog's `[auto]` maps that to models."),
        [],
        _ROUTE_BODY,
        {200: answer("The model, and all that were considered.", r.Route)},
        (422,),
    ),
    ("GET", "/v1/usage"): (
        "Read usage",
        ("What your jobs used and what it cost, summed over UTC days. `cost_usd` leaves out jobs whose price is not known; "
        "`unpriced_jobs` says how many."),
        [
            query("from", {"type": "string", "format": "date"}, "The first day; 30 days in all unless given."),
            query("to", {"type": "string", "format": "date"}, "The last day; today unless given."),
            query("group_by", {"type": "string", "default": "day,model"}, "Some of day, key, model, endpoint, lane."),
            query("key_id", typed_id(ids.KEY), "Only of this key."),
            query("model", TEXT, "Only of this model."),
        ],
        None,
        {200: answer("The sums.", a.UsageReport)},
        (422,),
    ),
}  # fmt: skip
