"""`forecast`: a cache that is filled before its entries are asked for, against one that only keeps them. No servers."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.figures import Figure, Must
from bench.traces import START, Request, weekly
from bench.world import World
from policies.forecast import Ask, Budget, Entry, Habits, Plan, choose

_WEEKS = 2
_CACHE_ENTRIES = 150
_TTL = timedelta(hours=2)
_PLAN = Plan(every=timedelta(hours=1), keeps=_TTL)
_BUDGET = Budget(max_jobs=100)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cache was worth; `before` are the calls made before anybody asked."""

    requests: int
    hits: int
    before: int
    waited_s: float

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests

    @property
    def calls(self) -> int:
        """All calls to the upstream."""
        return self.requests - self.hits + self.before


class Cache:
    """Entries with a time to live; what was used longest ago leaves when there are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._expiries: OrderedDict[str, datetime] = OrderedDict()

    def until(self, entry: str, now: datetime) -> datetime | None:
        """Return when an entry expires, None if it has."""
        expiry = self._expiries.get(entry)
        return expiry if expiry is not None and expiry > now else None

    def used(self, entry: str) -> None:
        self._expiries.move_to_end(entry)

    def put(self, entry: str, now: datetime) -> None:
        self._expiries[entry] = now + _TTL
        self._expiries.move_to_end(entry)
        while len(self._expiries) > self._most:
            self._expiries.popitem(last=False)


def measure(world: World) -> list[Figure]:
    """The same two weeks, with prewarm and without."""
    requests = list(weekly(weeks=_WEEKS))
    world.say(f"{len(requests):,} simulated requests of {_WEEKS} weeks, twice")
    plain, warmed = simulate(requests, prewarm=False), simulate(requests, prewarm=True)
    note = (
        f"simulated: pages opened by habit on working days or once a week, others by chance; {_CACHE_ENTRIES} entries that live "
        f"two hours; every hour at most {_BUDGET.max_jobs} calls for what is likely to be asked for, learned from nothing as the "
        f"weeks go by. Of all requests {100 * plain.hit_rate:.0f} % are hits without; waiting is down by "
        f"{100 * (1 - warmed.waited_s / plain.waited_s):.0f} %"
    )
    return [
        Figure("forecast", "requests answered from the cache", 100 * warmed.hit_rate, "%", note=note),
        Figure(
            "forecast", "times the hit rate of the cache alone", warmed.hit_rate / plain.hit_rate, "×", Must("≥", 1.5)
        ),
        Figure("forecast", "more upstream calls", 100 * (warmed.calls / plain.calls - 1), "%", Must("≤", 20)),
    ]


def simulate(requests: Sequence[Request], *, prewarm: bool) -> Outcome:
    """Let requests pass by a cache that is filled before its entries are asked for, or not."""
    cache, habits = Cache(_CACHE_ENTRIES), Habits(UTC)
    known: dict[str, Entry] = {}
    hits = before = 0
    waited, tick = 0.0, START
    for request in requests:
        while prewarm and tick <= request.at:
            before += _warm(cache, habits, known, tick)
            tick += _PLAN.every
        habits.learn(Ask(request.entry, request.at))
        known.setdefault(request.entry, Entry(request.entry, request.latency_s, tokens=request.tokens))
        if cache.until(request.entry, request.at) is None:
            cache.put(request.entry, request.at)
            waited += request.latency_s
        else:
            cache.used(request.entry)
            hits += 1
    return Outcome(len(requests), hits, before, waited)


def _warm(cache: Cache, habits: Habits, known: dict[str, Entry], now: datetime) -> int:
    entries = [
        Entry(entry.name, entry.latency_s, tokens=entry.tokens, fresh_until=cache.until(entry.name, now))
        for entry in known.values()
    ]
    choices = choose(entries, habits, _BUDGET, now, _PLAN)
    for choice in choices:
        cache.put(choice.entry.name, now)
    return len(choices)
