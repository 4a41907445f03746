"""Which entries of a cache will soon be asked for, and which of them are worth computing before. Pure.

People have habits by the hour and by the day. So for an hour of the week it is counted in how many weeks somebody asked then;
older weeks count less, and an ask in the hour beside counts a little, because nobody is punctual. A week or two do not say much
about one hour: the same hour of like days (working days, weekends) helps out, the more the more regular these are. That gives
the probability that somebody will ask, and from it what a call made now is worth: the seconds it will probably save, for what it
costs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

HOURS: Final = 168
HALF_LIFE_WEEKS: Final = 3.0
_MOST_DAYS: Final = 8 * 7 + 1
# Asked an hour earlier or later: nobody is punctual.
_BESIDE: Final = 0.3
# How many weeks the days together count for, where every day is like the others.
_DAILY_TRUST: Final = 4.0
# As if it had not been asked for once more: so that one time is no habit yet.
_DOUBT: Final = 0.2
# What a million tokens cost where nobody knows, in USD; only for comparing entries with each other.
_GUESSED_PRICE: Final = 1.0
_DAYS: Final = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody asked for an entry, and hit or missed it. `at` has a zone."""

    entry: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """What may be computed before somebody asks.

    Attributes:
        name: the same as in `Ask.entry`.
        latency_s: what a call for it takes, and a hit saves.
        cost_usd: what that call costs; None when unknown, then `tokens` stand in for it.
        tokens: what that call consumes.
        fresh_until: when the cached one expires; None when there is none.
    """

    name: str
    latency_s: float
    cost_usd: Decimal | None = None
    tokens: int = 0
    fresh_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend; None for any amount. An unknown cost counts as `Entry.tokens` at one USD a million."""

    max_jobs: int | None = None
    max_tokens: int | None = None
    max_cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How runs are made.

    Attributes:
        every: when the next run comes.
        keeps: how long what is computed now stays fresh; more than a day counts as a day.
        least: entries less likely to be asked for in that time are left out: too many calls would be in vain.
        soon: how much of that likelihood must lie before the next run.
    """

    every: timedelta = timedelta(hours=1)
    keeps: timedelta = timedelta(hours=2)
    least: float = 0.6
    soon: float = 0.4


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry worth computing now.

    Attributes:
        entry: which.
        probability: that somebody asks for it while it is fresh because of this.
        value: expected seconds saved for a USD.
        reason: why, in words.
    """

    entry: Entry
    probability: float
    value: float
    reason: str


class Habits:
    """Who asks when. Hours are those of one zone, by the clock on the wall: a change to summer time does not shift habits."""

    def __init__(
        self,
        zone: tzinfo,
        asks: Iterable[Ask] = (),
        half_life_weeks: float = HALF_LIFE_WEEKS,
        *,
        since: datetime | None = None,
    ) -> None:
        """Begin with some asks, in any order.

        Args:
            zone: whose hours.
            asks: what is known already.
            half_life_weeks: a week so long ago counts half.
            since: from when on asks are known, where that is before the first one. It has a zone.

        Raises:
            ValueError: when the half-life is not above 0.
        """
        if not half_life_weeks > 0:
            raise ValueError("a half-life is above 0")
        self._zone = zone
        self._half_life = half_life_weeks
        self._hours: dict[str, dict[int, int]] = {}
        self._since = None if since is None else self._hour(since)
        for ask in asks:
            self.learn(ask)

    def learn(self, ask: Ask, times: int = 1) -> None:
        """Take note of an ask, or of several at the same time.

        What is never asked for again costs memory: begin anew from time to time.
        """
        hour = self._hour(ask.at)
        hours = self._hours.setdefault(ask.entry, {})
        hours[hour] = hours.get(hour, 0) + times
        self._since = hour if self._since is None else min(self._since, hour)

    def probability(self, entry: str, start: datetime, length: timedelta = _HOUR) -> float:
        """Return how likely it is that somebody asks for an entry from `start` on, within `length` (whole hours, at most 24).

        Only what happened before `start` counts.
        """
        hours = self._hours.get(entry)
        if hours is None or self._since is None or length <= timedelta(0):
            return 0.0
        first = self._hour(start)
        span = min(24, self._hour(start + length - timedelta(microseconds=1)) - first + 1)
        daily, days = self._kept(hours, first, span, _alike(first))
        weekly, weeks = self._kept(hours, first, span, range(7, _MOST_DAYS, 7))
        if days <= 0:
            return 0.0
        by_day = daily / (days + _DOUBT)
        # What is kept on most days tells of all of them; what is not, little of any other.
        trust = _DAILY_TRUST * by_day
        return (weekly + trust * by_day) / (weeks + trust + _DOUBT)

    def told(self, entry: str, start: datetime) -> str:
        """Return what the habit is, in words."""
        first, hours = self._hour(start), self._hours.get(entry, {})
        past = {hour: count for hour, count in hours.items() if hour < first}
        same = sum(count for hour, count in past.items() if (hour - first + 1) % HOURS <= 2)
        daily = sum(count for hour, count in past.items() if (hour - first + 1) % 24 <= 2)
        weeks = (first - self._since) / HOURS if self._since is not None else 0.0
        return (
            f"asked for {_times(same)} on {_DAYS[first // 24 % 7]} and {_times(daily)} on all days around {first % 24:02}:00 "
            f"in {_shown(weeks)}"
        )

    def _kept(self, hours: Mapping[int, int], first: int, span: int, days: Iterable[int]) -> tuple[float, float]:
        """On how many of the days (so many ago) somebody asked in these hours, and how many were watched; both decayed."""
        kept = watched = 0.0
        since = self._since or 0
        for ago in days:
            begin = first - 24 * ago
            if begin < since:
                break
            weight = 2.0 ** (-ago / 7 / self._half_life)
            watched += weight
            if any(hour in hours for hour in range(begin, begin + span)):
                kept += weight
            elif begin - 1 in hours or (begin + span < first and begin + span in hours):
                kept += weight * _BESIDE
        return kept, watched

    def _hour(self, moment: datetime) -> int:
        """Number an hour of the wall's clock; 0 is a Monday's first."""
        local = moment.astimezone(self._zone)
        return (local.toordinal() - 1) * 24 + local.hour


def _alike(hour: int) -> list[int]:
    """How many days ago days like that of the hour were: a working day, or one of the weekend."""
    day = hour // 24 % 7
    return [ago for ago in range(1, _MOST_DAYS) if ((day - ago) % 7 < 5) is (day < 5)]


def choose(
    entries: Iterable[Entry],
    habits: Habits,
    budget: Budget,
    now: datetime,
    plan: Plan | None = None,
) -> list[Choice]:
    """Return what to compute now, most valuable first, as far as the budget goes: `within` of `worthwhile`."""
    return within(worthwhile(entries, habits, now, plan), budget)


def worthwhile(entries: Iterable[Entry], habits: Habits, now: datetime, plan: Plan | None = None) -> list[Choice]:
    """Return what is worth computing now, in the order of the entries.

    Args:
        entries: candidates. What stays fresh until the next run is left to that.
        habits: learned from the tenant's asks.
        now: from when on asks are to be hits.
        plan: how often runs come and what they aim at.
    """
    plan = plan or Plan()
    return [choice for entry in entries if (choice := _worth(entry, habits, now, plan)) is not None]


def within(choices: Iterable[Choice], budget: Budget) -> list[Choice]:
    """Return those choices, most valuable first, that the budget has room for.

    Greedy: whatever does not fit any more is left out, and the next that fits is taken.
    """
    # By name where values are equal: the order in which entries come must not matter.
    ordered = sorted(choices, key=lambda choice: (-choice.value, choice.entry.name))
    taken: list[Choice] = []
    tokens, cost = 0, Decimal(0)
    for choice in ordered:
        if budget.max_jobs is not None and len(taken) >= budget.max_jobs:
            break
        more_tokens, more_cost = tokens + choice.entry.tokens, cost + _cost(choice.entry)
        if budget.max_tokens is not None and more_tokens > budget.max_tokens:
            continue
        if budget.max_cost_usd is not None and more_cost > budget.max_cost_usd:
            continue
        taken.append(choice)
        tokens, cost = more_tokens, more_cost
    return taken


def _worth(entry: Entry, habits: Habits, now: datetime, plan: Plan) -> Choice | None:
    # A call adds only the time that the cached one does not cover.
    start = now if entry.fresh_until is None else max(now, entry.fresh_until)
    if start >= now + plan.every:
        return None
    probability = habits.probability(entry.name, start, now + plan.keeps - start)
    if probability < plan.least or probability <= 0:
        return None
    # What is asked for only later can wait for the next run, and will stay fresh for longer then.
    if habits.probability(entry.name, start, now + plan.every - start) < plan.soon * probability:
        return None
    return _choice(entry, habits, probability, now)


def _choice(entry: Entry, habits: Habits, probability: float, now: datetime) -> Choice:
    cost = _cost(entry)
    # A call of a local model costs nothing, but not less than nothing.
    value = entry.latency_s * probability / max(float(cost), 1e-9)
    price = "at unknown cost" if entry.cost_usd is None else f"for ${entry.cost_usd:f}"
    reason = f"{habits.told(entry.name, now)}: {probability:.0%} likely to be asked for, saves {entry.latency_s:.3g} s {price}"
    return Choice(entry, probability, value, reason)


def _cost(entry: Entry) -> Decimal:
    if entry.cost_usd is not None:
        return entry.cost_usd
    return Decimal(entry.tokens) * Decimal(str(_GUESSED_PRICE)) / 1_000_000


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _shown(weeks: float) -> str:
    return f"{weeks:.1f} weeks" if weeks >= 1 else f"{weeks * 7:.1f} days"
