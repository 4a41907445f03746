"""How much of the models' capacity work that can wait may take: what nobody else needs, and not all of that."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

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
