from collections import Counter
from itertools import islice, pairwise

import pytest

from bench.measures.forecast import Outcome, simulate
from bench.traces import START, Request, weekly, zipf_day


@pytest.fixture(scope="module")
def two_weeks() -> list[Request]:
    return list(weekly())


@pytest.fixture(scope="module")
def outcomes(two_weeks: list[Request]) -> tuple[Outcome, Outcome]:
    return simulate(two_weeks, prewarm=False), simulate(two_weeks, prewarm=True)


def test_a_trace_is_the_same_for_the_same_seed() -> None:
    assert list(islice(weekly(3), 500)) == list(islice(weekly(3), 500)) != list(islice(weekly(4), 500))
    assert list(zipf_day(3, requests=200)) == list(zipf_day(3, requests=200)) != list(zipf_day(4, requests=200))


def test_two_weeks_have_the_rhythm_of_days_and_weeks(two_weeks: list[Request]) -> None:
    assert (two_weeks[-1].at - START).days in (13, 14)
    hours = Counter(request.at.hour for request in two_weeks)
    assert hours[9] > 5 * hours[3]
    days = Counter(request.at.weekday() for request in two_weeks)
    assert min(days[day] for day in range(5)) > 3 * max(days[5], days[6])
    same = Counter((request.entry, request.at.hour) for request in two_weeks)
    assert sum(count >= 7 for count in same.values()) > 200


def test_a_day_of_chat_has_few_popular_questions_and_many_rare_ones() -> None:
    requests = list(zipf_day())
    counts = Counter(request.entry for request in requests)
    assert len(requests) == 20_000
    assert all(0 <= request.at_s < 86_400 for request in requests)
    assert all(one.at_s <= other.at_s for one, other in pairwise(requests))
    assert counts.most_common(1)[0][1] > 1000
    assert 0.2 < len(counts) / len(requests) < 0.5


def test_requests_for_one_entry_have_one_body_and_others_another() -> None:
    requests = list(zipf_day(requests=300))
    bodies = {request.entry: request.body("m") for request in requests}
    assert all(request.body("m") == bodies[request.entry] for request in requests)
    assert len({str(body) for body in bodies.values()}) == len(bodies)
    assert {request.latency_s for request in requests if request.entry == "question-0"} == {
        requests_for_first(requests)
    }


def requests_for_first(requests: list[Request]) -> float:
    return next(request.latency_s for request in requests if request.entry == "question-0")


def test_prewarm_reaches_its_goals_on_the_two_weeks(outcomes: tuple[Outcome, Outcome]) -> None:
    plain, warmed = outcomes
    assert warmed.hit_rate >= 1.5 * plain.hit_rate
    assert warmed.calls <= 1.2 * plain.calls
    assert warmed.waited_s < plain.waited_s
    assert plain.before == 0
