import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.backoff import (
    RETRY_AFTER_CAP_S,
    WEBHOOK_RETRY_AFTER_CAP_S,
    WEBHOOK_SCHEDULE_S,
    parse_retry_after,
    retry_delay,
    webhook_delay,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
seeds = st.integers().map(random.Random)
waits = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(st.integers(-5, 10_000), seeds)
def test_a_retry_comes_within_its_doubling_window(attempt: int, rng: random.Random) -> None:
    assert 0 <= retry_delay(attempt, rng=rng) <= min(300.0, 2.0 ** max(0, min(attempt, 50) - 1))


@given(st.integers(1, 100), waits, seeds)
def test_retry_after_is_a_floor_but_not_for_ever(attempt: int, retry_after: float | None, rng: random.Random) -> None:
    delay = retry_delay(attempt, retry_after=retry_after, rng=rng)
    assert 0 <= delay <= RETRY_AFTER_CAP_S + 300
    if retry_after is not None and 0 < retry_after <= RETRY_AFTER_CAP_S:
        assert delay >= retry_after


def test_jobs_turned_away_together_come_back_spread() -> None:
    rng = random.Random(1)
    assert len({retry_delay(3, retry_after=10, rng=rng) for _ in range(50)}) == 50


@given(st.integers(1, len(WEBHOOK_SCHEDULE_S)), seeds)
def test_a_webhook_keeps_its_schedule_and_is_never_early(try_no: int, rng: random.Random) -> None:
    base = WEBHOOK_SCHEDULE_S[try_no - 1]
    delay = webhook_delay(try_no, rng=rng)
    assert delay is not None and base <= delay <= base * 1.1


def test_a_webhook_gives_up_after_the_last_step_of_the_schedule() -> None:
    rng = random.Random(1)
    assert len(WEBHOOK_SCHEDULE_S) == 9
    assert webhook_delay(9, rng=rng) is not None
    assert webhook_delay(10, rng=rng) is None
    assert webhook_delay(1, rng=rng, schedule=()) is None


@given(st.integers(1, 9), waits, seeds)
def test_a_receiver_may_ask_for_patience_of_at_most_a_day(
    try_no: int, retry_after: float | None, rng: random.Random
) -> None:
    delay = webhook_delay(try_no, retry_after=retry_after, rng=rng)
    assert delay is not None and WEBHOOK_SCHEDULE_S[try_no - 1] <= delay <= WEBHOOK_RETRY_AFTER_CAP_S * 1.1
    if retry_after is not None and 0 < retry_after <= WEBHOOK_RETRY_AFTER_CAP_S:
        assert delay >= retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_no_header_value_breaks_the_reader(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0
