"""How much of the models' capacity work that can wait may take: what nobody else needs, and not all of that."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from policies.catalog import BATCHABLE, Deployment

PREWARM: Final = "prewarm"
BULK: Final = "bulk"

#: Of what others leave free, so much stays free: the next live job finds a slot at once and waits for no prewarm job to end.
KEPT_FREE: Final = 1 / 4


def spare(
    free: Mapping[str, int], held: Mapping[str, int], waited_for: AbstractSet[str] = frozenset()
) -> dict[str, int]:
    """Return how many more jobs of each model a lane that gives way may start: at least one at a time where anything is free.

    Args:
        free: how many more jobs of each model can be started at all.
        held: how many of each model the giving-way lane has running.
        waited_for: models that jobs of other lanes wait for.
    """
    return {model: 0 if model in waited_for else _more(slots, held.get(model, 0)) for model, slots in free.items()}


def _more(free: int, held: int) -> int:
    # A model with a single slot would otherwise never be prewarmed.
    most = max(1, int((free + held) * (1 - KEPT_FREE)))
    return max(0, min(free, most - held))


def prewarm_lane(asked: str | None, deployments: Sequence[Deployment], endpoint: str, *, stream: bool) -> str:
    """Return the lane of a job that warms a cache.

    It is `prewarm`, whose jobs give way to all others and run as calls: an entry that is to be there in the morning must not wait
    for a Batch API, which may take a day. Whoever asks for `bulk` says that the price matters more than the hour. That is heeded
    only where a Batch API will take the job, because then it takes nobody's slot here; as a call it would not give way in `bulk`.

    Args:
        asked: the lane that the template names, if it names one.
        deployments: those of the job's model, in the catalog's order.
        endpoint: such as `/v1/embeddings`.
        stream: whether the request streams, which Batch APIs do not.
    """
    if asked != BULK or stream or endpoint not in BATCHABLE:
        return PREWARM
    # Of several the first one is fed.
    fed = next((deployment for deployment in deployments if deployment.batch_api), None)
    return BULK if fed is not None and fed.serves(endpoint) else PREWARM
