"""Cron times: five fields, time zones, days that are 23 and 25 hours long."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cron import CronError, ZoneError, fires, fires_until, next_fire, next_fires, zone

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Asia/Beirut",
]
MOMENTS = st.integers(1_577_836_800, 2_051_222_400).map(lambda second: datetime.fromtimestamp(second, UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fields(lowest: int, highest: int) -> st.SearchStrategy[str]:
    number = st.integers(lowest, highest)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.integers(1, 30).map(lambda step: f"*/{step}"),
        st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}"),
        st.lists(number, min_size=1, max_size=3).map(lambda some: ",".join(map(str, some))),
    )


EXPRESSIONS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)).map(" ".join)


@given(EXPRESSIONS, st.sampled_from(ZONES), MOMENTS)
def test_times_rise_and_lie_on_whole_minutes_later_than_asked(cron: str, timezone: str, after: datetime) -> None:
    times = list(islice(fires(cron, timezone, after), 8))
    assert all(earlier < later for earlier, later in pairwise([after, *times]))
    assert all(time.second == time.microsecond == 0 and time.tzinfo is UTC for time in times)


@given(EXPRESSIONS, st.sampled_from(ZONES), MOMENTS)
def test_going_on_from_a_time_gives_the_times_after_it(cron: str, timezone: str, after: datetime) -> None:
    times = next_fires(cron, timezone, after, 6)
    for place, time in enumerate(times[:-1]):
        assert next_fire(cron, timezone, time) == times[place + 1]


@given(st.integers(0, 59), st.integers(0, 23), st.sampled_from(ZONES), MOMENTS)
def test_a_daily_time_happens_once_on_every_day_of_the_calendar(
    minute: int, hour: int, timezone: str, after: datetime
) -> None:
    local = zone(timezone)
    times = next_fires(f"{minute} {hour} * * *", timezone, after, 400)
    days = [time.astimezone(local).date() for time in times]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


@given(st.sampled_from(ZONES), MOMENTS)
def test_every_quarter_of_an_hour_goes_by_elapsed_time(timezone: str, after: datetime) -> None:
    times = next_fires("*/15 * * * *", timezone, after, 300)
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=15)}


def test_a_time_that_the_clock_skips_happens_right_after_the_gap() -> None:
    # In Berlin 2:00 to 3:00 does not exist on 29 March 2026.
    times = next_fires("30 2 * * *", "Europe/Berlin", at("2026-03-28T00:00"), 3)
    assert times == [at("2026-03-28T01:30"), at("2026-03-29T01:00"), at("2026-03-30T00:30")]


def test_a_time_that_the_clock_shows_twice_happens_the_first_time_only() -> None:
    # On 25 October 2026 it is 2:30 in Berlin at 0:30 and again at 1:30 UTC.
    times = next_fires("30 2 * * *", "Europe/Berlin", at("2026-10-24T12:00"), 2)
    assert times == [at("2026-10-25T00:30"), at("2026-10-26T01:30")]


def test_asked_within_the_second_of_two_equal_hours_the_first_one_is_over() -> None:
    assert next_fire("30 2 * * *", "Europe/Berlin", at("2026-10-25T01:15")) == at("2026-10-26T01:30")


def test_night_and_day_keep_their_local_times_through_the_year() -> None:
    local = ZoneInfo("America/New_York")
    times = next_fires("0 9 1 * *", "America/New_York", at("2026-01-01T20:00"), 12)
    assert {time.astimezone(local).hour for time in times} == {9}
    assert {time.hour for time in times} == {13, 14}


def test_times_up_to_a_moment_include_it() -> None:
    assert fires_until("0 * * * *", "UTC", at("2026-01-01T10:00"), at("2026-01-01T12:00")) == [
        at("2026-01-01T11:00"),
        at("2026-01-01T12:00"),
    ]


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "5-1 * * * *", "*/0 * * * *",
     "0 0 30 2 *", "٣ * * * *", "a b c d e", "0 0 * * *" + " " * 10 + "*", "1," * 150 + "1 * * * *"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(cron: str) -> None:
    with pytest.raises(CronError):
        next_fire(cron, "UTC", at("2026-01-01T00:00"))


@given(st.text(alphabet="0123456789*/,-L#WMONSUF?² \t", max_size=40))
def test_any_text_is_a_cron_expression_or_refused_as_none(cron: str) -> None:
    with suppress(CronError):
        next_fire(cron, "Europe/Berlin", at("2026-01-01T00:00"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Berlin",
        "Europe",
        "europe/Berlin ",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "right/UTC",
        "Europe/Berlin\x00",
        "A" * 500,
    ],
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ZoneError):
        zone(name)
