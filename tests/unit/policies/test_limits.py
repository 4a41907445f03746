"""The accounts' model. `tests/integration/limits` holds the Lua scripts to it."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from policies.limits import Account, Kind, Limits, LocalAccounts, Owners, accounts, period_of, renews_in_s, shared

TENANT, KEY = UUID(int=1), UUID(int=2)
LIMIT = 1000
SECOND = 1_000_000

events = st.lists(
    st.tuples(st.floats(0, 20), st.integers(1, 600), st.floats(0, 1), st.floats(0, 90)), min_size=1, max_size=60
)


def tokens(amount: int) -> list[Account]:
    return [Account(Kind.TOKENS, "key:x", LIMIT, amount, TENANT)]


@given(events)
def test_no_sixty_seconds_hold_more_tokens_than_the_limit_and_one_reservation(
    told: list[tuple[float, int, float, float]],
) -> None:
    """Jobs come after a pause, set an amount aside, use a part of it and settle some time later."""
    ledger = LocalAccounts()
    now = 0.0
    due: list[tuple[float, str, int, int]] = []
    started: list[tuple[float, int]] = []
    for number, (pause, amount, part, lasts) in enumerate(told):
        now += pause
        for settlement in [each for each in due if each[0] <= now]:
            when, wish, reserved, used = settlement
            ledger.settle(wish, tokens(reserved), [used], round(when * SECOND))
            due.remove(settlement)
        if ledger.take(str(number), tokens(amount), round(now * SECOND), {}).granted:
            used = int(amount * part)
            started.append((now, used))
            due.append((now + lasts, str(number), amount, used))
        recent = [used for when, used in started if when > now - 60]
        assert sum(recent) <= LIMIT


@given(events)
def test_whoever_waits_as_long_as_told_is_let_in(told: list[tuple[float, int, float, float]]) -> None:
    ledger = LocalAccounts()
    now = 0
    for number, (pause, amount, _, _) in enumerate(told):
        now += round(pause * SECOND)
        taken = ledger.take(str(number), tokens(amount), now, {})
        if not taken.granted:
            assert 0 < taken.wait_s <= 61
            now += round(taken.wait_s * SECOND) + 1
            assert ledger.take(str(number), tokens(amount), now, {}).granted


def test_an_estimate_that_is_never_settled_leaves_by_itself() -> None:
    ledger = LocalAccounts()
    assert ledger.take("lost", tokens(LIMIT), 0, {}).granted
    assert not ledger.take("next", tokens(1), 60 * SECOND, {}).granted
    assert ledger.take("next", tokens(1), 61 * SECOND, {}).granted


def test_an_estimate_that_may_take_longer_to_be_settled_stays_longer() -> None:
    owners = Owners(TENANT, KEY, Limits(budget_day_usd=Decimal(1)))
    [usual] = accounts(owners, {Kind.DAY: 10**9}, datetime(2026, 11, 20, tzinfo=UTC))
    [longer] = accounts(owners, {Kind.DAY: 10**9}, datetime(2026, 11, 20, tzinfo=UTC), held_s=usual.stays_s + 10)
    assert longer.name == usual.name
    ledger = LocalAccounts()
    now = round((usual.stays_s + 5) * SECOND)
    assert ledger.take("a", [longer], 0, {usual.name: (0, 0)}).granted
    assert ledger.take("b", [usual], now, {usual.name: (0, now)}).refused == usual
    later = now + 10 * SECOND
    assert ledger.take("b", [usual], later, {usual.name: (0, later)}).granted


def test_a_base_read_later_takes_over_what_was_settled_before_it() -> None:
    ledger = LocalAccounts()
    queue = [Account(Kind.QUEUED, "key:x", 2, 1, TENANT)]
    assert ledger.take("a", queue, 1, {}).stale == queue[0]
    assert ledger.take("a", queue, 2, {queue[0].name: (0, 1)}).granted
    ledger.settle("a", queue, [1], 3)
    assert ledger.take("b", queue, 4, {}).used == (2,)
    assert not ledger.take("c", queue, 5, {}).granted
    # The job of `a` stands in the base that is read now; the one of `b` is not stored yet.
    assert not ledger.take("c", queue, 6, {queue[0].name: (1, 5)}).granted
    assert ledger.take("c", queue, 8, {queue[0].name: (0, 7)}).granted


def test_a_base_goes_out_of_date() -> None:
    ledger = LocalAccounts()
    queue = [Account(Kind.QUEUED, "key:x", 2, 1, TENANT)]
    assert ledger.take("a", queue, SECOND, {queue[0].name: (0, SECOND)}).granted
    assert ledger.take("b", queue, 40 * SECOND, {}).stale == queue[0]


def test_only_what_is_limited_has_an_account() -> None:
    own = Limits(60, 1000, None, 5, Decimal("0.5"), None)
    common = Limits(max_in_flight=3, budget_month_usd=Decimal(100))
    wanted = {Kind.TOKENS: 10, Kind.OPEN: 1, Kind.QUEUED: 1, Kind.DAY: 7, Kind.MONTH: 7}
    told = accounts(Owners(TENANT, KEY, own, common), wanted, datetime(2026, 11, 20, tzinfo=UTC))
    assert [(each.name, each.limit, each.amount) for each in told] == [
        (f"tokens:key:{KEY.hex}", 1000, 10),
        (f"queued:key:{KEY.hex}", 5, 1),
        (f"day:key:{KEY.hex}:2026-11-20", 500_000_000, 7),
        (f"open:tenant:{TENANT.hex}", 3, 1),
        (f"month:tenant:{TENANT.hex}:2026-11", 100_000_000_000, 7),
    ]
    assert not Limits(requests_per_minute=3).on_jobs and own.on_jobs


@given(
    st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1000 < moment.year < 9000),
    st.integers(-12, 12),
    st.sampled_from([Kind.DAY, Kind.MONTH]),
)
def test_a_budget_renews_when_its_period_ends_in_utc(moment: datetime, hours: int, kind: Kind) -> None:
    now = moment.astimezone(timezone(timedelta(hours=hours)))
    left = timedelta(seconds=renews_in_s(kind, now))
    assert timedelta(0) < left <= timedelta(days=31 if kind is Kind.MONTH else 1)
    assert period_of(kind, now + left) != period_of(kind, now)
    assert period_of(kind, now + left - timedelta(milliseconds=1)) == period_of(kind, now)


def test_processes_share_what_postgres_does_not_count() -> None:
    queue = Account(Kind.QUEUED, "key:x", 9, 1, TENANT)
    assert [each.limit for each in shared([*tokens(1), queue], 4)] == [250, 9]
    assert [each.limit for each in shared(tokens(1), 5000)] == [1]
