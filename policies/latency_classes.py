"""Which lanes get more slots of their own: those that end too many of their jobs later than they aim at. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# A lane may miss its target with so many of its jobs before it counts as late.
TOLERATED: Final = 0.05
_GROWTH: Final = 2
_FEWEST_JOBS: Final = 5
# All reservations together leave this part of the slots to whoever comes.
_RESERVED_AT_MOST: Final = 0.5


@dataclass(frozen=True, slots=True)
class Tally:
    """Jobs of a lane that ended within its target, and later than that."""

    met: int = 0
    missed: int = 0

    @property
    def late(self) -> bool:
        """Whether too many came too late, of enough to say so."""
        return self.met + self.missed >= _FEWEST_JOBS and self.missed > TOLERATED * (self.met + self.missed)


def reservations(
    reserved: Mapping[str, int], tallies: Mapping[str, Tally], *, fewest: int, most: int
) -> dict[str, int]:
    """Return how many slots to keep for each lane from now on.

    A lane that is late gets twice as many as it has, at least one; one that is on time goes back by a quarter of what it has
    above ``fewest``. Together they never hold more than half of ``most``, or ``fewest`` each where that is more: what is missing
    is taken from all alike.

    Args:
        reserved: what is kept now, for all lanes.
        tallies: what became of each lane's jobs since the last time; lanes without a target are missing.
        fewest: kept for every lane whatever happens.
        most: slots in all.
    """
    wanted = {}
    for lane, kept in reserved.items():
        tally = tallies.get(lane, Tally())
        if tally.late:
            wanted[lane] = max(kept * _GROWTH, fewest + 1)
        else:
            wanted[lane] = max(fewest, kept - -(-(kept - fewest) // 4)) if kept > fewest else fewest
    spare = max(0, int(most * _RESERVED_AT_MOST) - fewest * len(wanted))
    above = sum(wanted.values()) - fewest * len(wanted)
    if above <= spare:
        return wanted
    return {lane: fewest + (kept - fewest) * spare // above for lane, kept in wanted.items()}
