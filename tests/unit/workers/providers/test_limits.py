from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.limits import (
    MAX_RESET_S,
    MAX_RETRY_AFTER_S,
    Allowance,
    UpstreamLimits,
    reset_s,
    retry_after_s,
    upstream_limits,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def raw(**headers: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "1000000000"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "inf"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Fri, 01 Jan 9999 00:00:00 GMT"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "1" * 10_000}, MAX_RETRY_AFTER_S),
        ({}, None),
    ],
)
def test_when_to_try_again_is_read_in_every_form_and_capped(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_within_its_bounds_or_nothing(text: str) -> None:
    seconds = retry_after_s({"retry-after": text, "retry-after-ms": text}, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S


def test_openai_headers_tell_what_is_left_and_until_when() -> None:
    found = upstream_limits(
        raw(
            X_RateLimit_Limit_Requests="500",
            x_ratelimit_remaining_requests="499",
            x_ratelimit_reset_requests="120ms",
            x_ratelimit_limit_tokens="200000",
            x_ratelimit_remaining_tokens="199000",
            x_ratelimit_reset_tokens="6m0s",
            content_type="application/json",
        ),
        NOW,
    )
    assert found == UpstreamLimits(Allowance(500, 499, 0.12), Allowance(200_000, 199_000, 360))
    assert found.wait_s is None


def test_anthropic_headers_tell_it_for_input_and_output_too() -> None:
    found = upstream_limits(
        raw(
            anthropic_ratelimit_requests_limit="50",
            anthropic_ratelimit_requests_remaining="0",
            anthropic_ratelimit_requests_reset="2026-01-01T12:00:02Z",
            anthropic_ratelimit_input_tokens_limit="30000",
            anthropic_ratelimit_input_tokens_remaining="12000",
            anthropic_ratelimit_input_tokens_reset="2026-01-01T12:00:36+00:00",
            anthropic_ratelimit_output_tokens_remaining="8000",
        ),
        NOW,
    )
    assert found == UpstreamLimits(
        requests=Allowance(50, 0, 2), input_tokens=Allowance(30_000, 12_000, 36), output_tokens=Allowance(None, 8_000)
    )
    assert found.wait_s == 2


def test_points_in_time_are_measured_by_the_clock_that_set_them() -> None:
    headers = raw(anthropic_ratelimit_tokens_reset="2026-01-01T09:00:30Z", date="Thu, 01 Jan 2026 09:00:00 GMT")
    found = upstream_limits(headers, NOW)
    assert found == UpstreamLimits(tokens=Allowance(reset_s=30))


def test_what_is_asked_for_goes_before_what_can_be_concluded() -> None:
    headers = raw(retry_after="3", x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="40s")
    found = upstream_limits(headers, NOW)
    assert found is not None and found.wait_s == 3


def test_headers_without_limits_say_nothing() -> None:
    assert upstream_limits(raw(date="Thu, 01 Jan 2026 09:00:00 GMT", server="x", x_ratelimit_limit_tokens="?")) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("350ms", 0.35),
        ("2m59.56s", 179.56),
        ("0s", 0),
        ("12", 12),
        ("0.25", 0.25),
        ("2026-01-01T12:01:00Z", 60),
        ("2026-01-01T11:00:00Z", 0),
        (str(int(NOW.timestamp()) + 90), 90),
        (str(1000 * (int(NOW.timestamp()) + 90)), 90),
        ("9999d", MAX_RESET_S),
        ("inf", MAX_RESET_S),
        ("soon", None),
        ("", None),
        ("-1s", None),
    ],
)
def test_a_reset_is_read_in_every_form_that_is_in_use(text: str, seconds: float | None) -> None:
    assert reset_s(text, NOW) == (None if seconds is None else pytest.approx(seconds))


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    wanted = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis).total_seconds()
    assert reset_s(f"{hours}h{minutes}m{seconds}s{millis}ms", NOW) == pytest.approx(wanted)
    assert reset_s((NOW + timedelta(seconds=wanted)).isoformat(), NOW) == pytest.approx(wanted)


NAMES = [
    f"{family}{what}"
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
    for family in ("x-ratelimit-limit-", "x-ratelimit-remaining-", "x-ratelimit-reset-")
] + [
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-requests-remaining",
    "retry-after",
    "retry-after-ms",
    "date",
]
VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(str),
    st.from_regex(r"([0-9]{1,12}(h|m|s|ms)){1,3}", fullmatch=True),
    st.datetimes().map(lambda moment: moment.isoformat()),
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES)))
def test_whatever_stands_in_the_headers_the_limits_are_usable(headers: list[tuple[str, str]]) -> None:
    found = upstream_limits([(name.encode(), value.encode("latin-1")) for name, value in headers], NOW)
    if found is None:
        return
    assert found.wait_s is None or 0 <= found.wait_s <= MAX_RETRY_AFTER_S
    for one in (found.requests, found.tokens, found.input_tokens, found.output_tokens):
        if one is not None:
            assert one.limit is None or one.limit >= 0
            assert one.remaining is None or one.remaining >= 0
            assert one.reset_s is None or 0 <= one.reset_s <= MAX_RESET_S


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 86_400))
def test_both_dialects_mean_the_same(limit: int, remaining: int, seconds: int) -> None:
    openai = raw(
        x_ratelimit_limit_tokens=str(limit),
        x_ratelimit_remaining_tokens=str(remaining),
        x_ratelimit_reset_tokens=f"{seconds}s",
    )
    anthropic = raw(
        anthropic_ratelimit_tokens_limit=str(limit),
        anthropic_ratelimit_tokens_remaining=str(remaining),
        anthropic_ratelimit_tokens_reset=(NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    assert upstream_limits(openai, NOW) == upstream_limits(anthropic, NOW)
