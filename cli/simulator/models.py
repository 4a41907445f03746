"""How each simulated model behaves unless a request or `POST /control` says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """Times in milliseconds. `slots` requests are served at once (0: any number), the rest waits in a queue.

    A request takes `ttft_ms` + `fixed_ms` + items x `item_ms` to its first token, then one token every 1/`tokens_per_s`
    (0: all at once). `fixed_ms` and `item_ms` are the cost model of an accelerator: a call costs about the same for one item
    as for a few, so that merging requests pays.

    A text has `tokens` tokens; with 0 its length follows from the prompt, as it does with real models.
    """

    name: str
    ttft_ms: float = 0
    tokens_per_s: float = 0
    tokens: int = 24
    fixed_ms: float = 0
    item_ms: float = 0
    slots: int = 0


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("sim/chat", ttft_ms=200, tokens_per_s=50),
        Model("sim/fast"),
        Model("sim/slow", ttft_ms=2000, tokens_per_s=10),
        Model("sim/bench", ttft_ms=200),
        Model("sim/gpu", fixed_ms=50, item_ms=2, slots=4),
        Model("sim/embed", ttft_ms=20),
        Model("sim/moderate", ttft_ms=20),
        Model("sim/rerank", ttft_ms=20),
        # First token and speed as measured of models of four sizes; the texts are simulated like all others.
        Model("sim/large", ttft_ms=800, tokens_per_s=70, tokens=0),
        Model("sim/medium", ttft_ms=300, tokens_per_s=135, tokens=0),
        Model("sim/small", ttft_ms=250, tokens_per_s=155, tokens=0),
        Model("sim/nano", ttft_ms=200, tokens_per_s=165, tokens=0),
        # Its server has a Batch API.
        Model("sim/batch", ttft_ms=200, tokens_per_s=50),
        # Three servers of one model, so that one of them can be made ill.
        Model("sim/trio-a", ttft_ms=100, tokens_per_s=100),
        Model("sim/trio-b", ttft_ms=100, tokens_per_s=100),
        Model("sim/trio-c", ttft_ms=100, tokens_per_s=100),
    )
}
