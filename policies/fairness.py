"""Fair turns between tenants, in proportion to their weights: start-time fair queueing (Goyal, Vin, Cheng 1996).

The queue itself lives in Postgres, and `core/store/sql/_enter_ready.sql` does this arithmetic there, where the tags are. Here it
stands by itself, to be reasoned about and tested; a test compares the two.

A job's tag is the greater of the lane's virtual time and its tenant's last finish tag; then the tenant's finish tag moves on by
the job's cost (1) over the tenant's weight. The lowest tag is served next, and the virtual time follows the tags served. So while
two tenants both have jobs waiting, what they get differs from the ratio of their weights by one job of each at most; and whoever
was away starts at the present, with nothing saved up.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class FairLane:
    """The clock of one lane and the last finish tag of each tenant."""

    virtual_time: float = 0.0
    finish_tags: dict[Hashable, float] = field(default_factory=dict)

    def enter(self, tenant: Hashable, jobs: int, weight: float = 1.0) -> list[float]:
        """Return the tags of ``jobs`` jobs of ``tenant`` that enter together, first job first."""
        cost = 1 / weight
        finish = max(self.finish_tags.get(tenant, 0.0), self.virtual_time) + jobs * cost
        self.finish_tags[tenant] = finish
        return [finish - after * cost for after in range(jobs, 0, -1)]

    def serve(self, tag: float) -> None:
        """Move the clock: a turn with this tag was spent."""
        self.virtual_time = max(self.virtual_time, tag)


def reweighed(tag: float, virtual_time: float, old: float, new: float) -> float:
    """Return the tag that a waiting job has after its tenant's weight changed from ``old`` to ``new``.

    The distance from the present is what was bought at the old weight; turns that are overdue stay.
    """
    return tag if tag <= virtual_time else virtual_time + (tag - virtual_time) * old / new
