"""What every step of the demo needs."""

from dataclasses import dataclass
from pathlib import Path

from cli.demo.api import Api
from cli.demo.receiver import Receiver
from cli.demo.show import Show
from cli.demo.stage import Stage

ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Scenery:
    """What every step needs; `simulator` is not the API but the simulated upstream itself, which tells what it saw."""

    show: Show
    stage: Stage
    api: Api
    simulator: Api
    receiver: Receiver
    texts: Path

    def text(self, name: str) -> str:
        """One of the example texts."""
        return (self.texts / name).read_text(encoding="utf-8")
