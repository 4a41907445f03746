"""Made-up traffic with the rhythms of real one, the same for the same seed. Generators: nothing is kept.

`weekly` is what people look at by habit, day after day and week after week, among other things. `zipf_day` is a day of chat
requests of which few are asked for very often and most once.
"""

import bisect
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

#: A Monday, midnight: when every trace begins.
START: Final = datetime(2026, 1, 5, tzinfo=UTC)

# By hour of the day; the weekend has a quarter of it.
_DAY: Final = (1, 1, 1, 1, 1, 2, 4, 8, 14, 16, 15, 13, 10, 12, 14, 13, 11, 9, 7, 6, 5, 4, 3, 2)
_WEEKEND: Final = 0.25

_TOPICS: Final = (
    "opening hours", "a refund", "the invoice", "the delivery date", "a password", "the warranty", "a voucher", "the size chart",
    "parking", "breakfast", "the baggage allowance", "a seat", "sick leave", "the pension plan", "a visa", "vaccinations",
)  # fmt: skip
_SYSTEM: Final = "You answer questions of guests and customers in two sentences."


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a trace.

    Attributes:
        at_s: seconds since `START`.
        entry: what is asked for; requests for one entry are equal.
        latency_s: what the upstream needs for it.
        tokens: what that consumes.
    """

    at_s: float
    entry: str
    latency_s: float
    tokens: int

    @property
    def at(self) -> datetime:
        """The moment, in UTC."""
        return START + timedelta(seconds=self.at_s)

    def body(self, model: str) -> dict[str, Any]:
        """Return a chat request that asks for the entry; at temperature 0, so that it is cached."""
        number = int(self.entry.rpartition("-")[2])
        question = f"Question {number}: what do I have to know about {_TOPICS[number % len(_TOPICS)]}?"
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]
        return {"model": model, "messages": messages, "temperature": 0}


@dataclass(frozen=True, slots=True)
class _Habit:
    """A page that somebody opens at an hour of some days, not always, and sometimes more than once."""

    entry: str
    days: Sequence[int]
    hour: float
    kept: float
    again: float


def weekly(seed: int = 7, weeks: int = 2, *, habits: int = 900, chance_a_day: int = 700) -> Iterator[Request]:
    """Yield, in order of time, weeks of requests with daily and weekly rhythm.

    Two thirds of the habits are of every working day, the others of one day in the week. What is beside them is asked for by
    chance, a fifth of it for pages of habit. Both follow the time of the day.

    Args:
        seed: decides everything.
        weeks: how many.
        habits: how many pages are opened by habit.
        chance_a_day: requests by chance on a working day.
    """
    rng = random.Random(seed)
    people = [_habit(number, rng) for number in range(habits)]
    for day in range(7 * weeks):
        requests = [request for habit in people if day % 7 in habit.days for request in _opened(habit, day, rng)]
        weekend = day % 7 >= 5
        for _ in range(round(chance_a_day * (_WEEKEND if weekend else 1))):
            number = rng.randrange(habits) if rng.random() < 0.2 else habits + int(rng.paretovariate(0.7)) % 20_000
            requests.append(_request(day * 86_400 + _moment(rng), f"page-{number}"))
        yield from sorted(requests, key=lambda request: (request.at_s, request.entry))


def zipf_day(
    seed: int = 7, *, requests: int = 20_000, entries: int = 50_000, exponent: float = 1.05
) -> Iterator[Request]:
    """Yield, in order of time, 24 hours of chat requests; the n-th most popular question has a share of 1 / n^exponent."""
    rng = random.Random(seed)
    sums = list(itertools.accumulate(1 / place**exponent for place in range(1, entries + 1)))
    moments = sorted(_moment(rng) for _ in range(requests))
    for moment in moments:
        place = bisect.bisect(sums, rng.random() * sums[-1])
        yield _request(moment, f"question-{min(place, entries - 1)}")


def _habit(number: int, rng: random.Random) -> _Habit:
    days: Sequence[int] = range(5) if rng.random() < 2 / 3 else (rng.choices(range(7), (5, 2, 2, 2, 4, 1, 1))[0],)
    # Most habits are kept nearly always; some hardly are any.
    return _Habit(f"page-{number}", days, _moment(rng) / 3600, rng.betavariate(6, 1), rng.choice((0.0, 0.0, 0.3, 1.0)))


def _opened(habit: _Habit, day: int, rng: random.Random) -> Iterator[Request]:
    if rng.random() >= habit.kept:
        return
    # Punctual within a quarter of an hour, more or less; whoever comes again does so within the next half.
    at = (day * 24 + habit.hour) * 3600 + rng.gauss(0, 600)
    for place in range(1 + _poisson(habit.again, rng)):
        yield _request(max(at + (rng.random() * 1800 if place else 0), 0.0), habit.entry)


def _request(at_s: float, entry: str) -> Request:
    # A question takes as long every time; which one takes how long is settled by its name.
    length = random.Random(entry).lognormvariate(5.5, 0.6)
    return Request(at_s, entry, 0.3 + length / 150, round(60 + length))


def _moment(rng: random.Random) -> float:
    """Seconds of a day, by the rhythm of the day."""
    return (rng.choices(range(24), _DAY)[0] + rng.random()) * 3600


def _poisson(mean: float, rng: random.Random) -> int:
    count, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count
