"""What a learned run looks back at and ahead to: from what was asked for to what is worth warming now. No I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from core.store.asks import Asked
from policies.auto import is_auto
from policies.catalog import Catalog
from policies.forecast import Ask, Choice, Entry, Habits, Plan, worthwhile

Weighed = tuple[Asked, Choice]

_DAYS: Final = 8 * 7
_DAY: Final = timedelta(days=1)
_SHORTEST: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where a run stands.

    Attributes:
        now: the time, in UTC.
        local: whose hours habits go by.
        next_run_at: when the next run comes.
        catalog: the one in force.
        ttl_s: how long entries of this run are kept, in seconds, if the schedule says so.
        usual_ttl_s: how long they are kept where neither the schedule nor their model says so.
    """

    now: datetime
    local: ZoneInfo
    next_run_at: datetime
    catalog: Catalog
    ttl_s: float | None
    usual_ttl_s: float

    def watched(self) -> list[tuple[datetime, datetime]]:
        """Return, for each day of the last weeks, from when to when asks tell something about the time to come."""
        rules = (policy.cache.ttl_s for policy in self.catalog.policies.values())
        longest = self.ttl_s or max(self.usual_ttl_s, *(ttl_s or 0 for ttl_s in rules), 0)
        return watched(self.now, self.local, min(_DAY, timedelta(seconds=longest)))

    def weigh(self, some: Iterable[tuple[Asked, float]], since: datetime | None) -> list[Weighed]:
        """Return those entries that are worth warming.

        Args:
            some: entries, each with the seconds that it lives yet.
            since: from when on asks are known.
        """
        found = []
        for asked, left_s in some:
            if not self._served(asked):
                continue
            habits = Habits(self.local, since=since)
            for at, times in zip(asked.at, asked.times, strict=True):
                habits.learn(Ask(asked.key.hex(), datetime.fromtimestamp(at, UTC)), times)
            fresh_until = self.now + timedelta(seconds=left_s) if left_s > 0 else None
            entry = Entry(asked.key.hex(), asked.ms / 1000, asked.usd, asked.tokens, fresh_until)
            found += [(asked, choice) for choice in worthwhile([entry], habits, self.now, self._aim(asked.model))]
        return found

    def _served(self, asked: Asked) -> bool:
        """Whether there is still a model for it."""
        return is_auto(asked.model) or any(
            each.serves(asked.endpoint) for each in self.catalog.deployments_for(asked.model)
        )

    def _aim(self, model: str) -> Plan:
        ttl_s = self.ttl_s or self.catalog.policy(model).cache.ttl_s or self.usual_ttl_s
        return Plan(every=max(self.next_run_at - self.now, _SHORTEST), keeps=min(_DAY, timedelta(seconds=ttl_s)))


def watched(now: datetime, local: ZoneInfo, keeps: timedelta) -> list[tuple[datetime, datetime]]:
    """Return, for each day of the last weeks, from when to when asks tell something about the time from `now` on.

    The same hours by the clock on the wall, and one more on either side, because nobody is punctual. They do not overlap.
    """
    wall = now.astimezone(local).replace(tzinfo=None)
    first = wall.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    hours = min(24, -((first - wall - keeps) // timedelta(hours=1)) + 1)
    begins: Sequence[datetime] = [first - timedelta(days=ago) for ago in range(1, _DAYS + 1)]
    return [(_instant(begin, local), _instant(begin + timedelta(hours=hours), local)) for begin in begins]


def _instant(wall: datetime, local: ZoneInfo) -> datetime:
    return wall.replace(tzinfo=local).astimezone(UTC)
