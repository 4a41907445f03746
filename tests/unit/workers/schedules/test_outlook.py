from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from workers.schedules.outlook import watched

BERLIN = ZoneInfo("Europe/Berlin")
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]).map(
    ZoneInfo
)
moments = st.integers(0, 730 * 1440).map(lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))
times = st.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds))


@given(moments, zones, times)
def test_what_is_watched_is_past_and_nothing_is_seen_twice(now: datetime, zone: ZoneInfo, keeps: timedelta) -> None:
    spans = watched(now, zone, keeps)
    assert len(spans) == 56
    assert all(low <= high for low, high in spans)
    assert spans[0][1] <= now
    assert all(earlier[1] <= later[0] for later, earlier in pairwise(spans))


@given(moments, zones, times, st.floats(0, 0.999))
def test_the_same_hours_of_earlier_days_are_watched(
    now: datetime, zone: ZoneInfo, keeps: timedelta, part: float
) -> None:
    then = (now + keeps * part).astimezone(zone).replace(tzinfo=None)
    spans = watched(now, zone, keeps)
    for ago in (1, 7, 30):
        wall = then - timedelta(days=ago)
        same = wall.replace(tzinfo=zone).astimezone(UTC)
        # Not a time that the clocks passed over.
        assume(same.astimezone(zone).replace(tzinfo=None) == wall)
        assert any(low <= same <= high for low, high in spans)


def test_an_hour_is_watched_by_the_clock_on_the_wall() -> None:
    """The clocks were set forward on 29 March."""
    spans = watched(datetime(2026, 3, 30, 8, 45, tzinfo=BERLIN), BERLIN, timedelta(hours=1))
    assert spans[0] == (datetime(2026, 3, 29, 5, tzinfo=UTC), datetime(2026, 3, 29, 9, tzinfo=UTC))
    assert spans[2] == (datetime(2026, 3, 27, 6, tzinfo=UTC), datetime(2026, 3, 27, 10, tzinfo=UTC))
