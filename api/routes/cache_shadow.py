"""GET /v1/cache/shadow: what near answers would have been worth, and what each threshold would have served."""

from collections.abc import Mapping
from typing import Any, Final

from api.answers import Answer, json_answer
from api.auth import ADMIN
from api.routes.cache import period
from api.routing import Call, needs
from core.render import moment as told
from core.store.shadow import read_doubtful, read_refusals, read_shadow
from policies.likeness import DEFAULT_THRESHOLD, THRESHOLDS
from policies.shadow import told as told_of

#: Pairs that are shown: those that would have been served and agree least.
_EXAMPLES: Final = 10


@needs(ADMIN)
async def get_cache_shadow(call: Call) -> Answer:
    """Return the pairs that shadow mode recorded, by model and similarity, and those that agree least."""
    first, last = period(call)
    engine, tenant = call.services.engine, call.key.tenant_id
    found = await read_shadow(engine, tenant, first, last)
    refusals = await read_refusals(engine, tenant, first, last)
    doubtful = await read_doubtful(engine, tenant, first, last, _EXAMPLES)
    answer = {
        "object": "cache_shadow",
        "from": told(first),
        "to": told(last),
        "data": [
            {
                "model": model,
                "embedder": embedder,
                "threshold": _threshold(call, model, embedder),
                **told_of(buckets),
                "refusals": refusals.get((model, embedder), {}),
            }
            for (model, embedder), buckets in found.items()
        ],
        "doubtful": [_pair(row) for row in doubtful],
    }
    return json_answer(answer, headers=[(b"cache-control", b"no-store")])


def _threshold(call: Call, model: str, embedder: str) -> float:
    """What holds now for jobs that do not say."""
    given = call.services.catalog.policy(model).cache.threshold
    return THRESHOLDS.get(embedder, DEFAULT_THRESHOLD) if given is None else given


def _pair(row: Mapping[str, Any]) -> dict[str, Any]:
    cosine = row["answers_cosine"]
    return {
        "model": row["model"],
        "similarity": round(row["similarity"], 4),
        "kept_question": row["kept_question"],
        "question": row["question"],
        "answer_cosine": None if cosine is None else round(cosine, 4),
        "at": told(row["created_at"]),
    }
