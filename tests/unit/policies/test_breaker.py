import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policies.breaker import Breaker, BreakerSettings, Counts, Verdict, judge, merge

SETTINGS = BreakerSettings(probe_timeout_s=1e9)


def tripped(settings: BreakerSettings = SETTINGS, now: float = 100.0) -> Breaker:
    breaker = Breaker(settings)
    for _ in range(settings.consecutive):
        breaker.record(now, False)
    assert breaker.state(now) == "open"
    return breaker


def test_failures_in_a_row_open_it_and_a_good_answer_between_does_not() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(SETTINGS.consecutive - 1):
        breaker.record(1.0, False)
    breaker.record(1.0, True)
    breaker.record(1.0, False)
    assert breaker.state(1.0) == "closed"
    for _ in range(SETTINGS.consecutive - 1):
        breaker.record(1.0, False)
    assert breaker.state(1.0) == "open"
    assert breaker.reason == "5 failures in a row"
    assert breaker.retry_at == 2.0


def test_half_of_the_calls_failing_opens_it_once_there_are_enough() -> None:
    breaker = Breaker(SETTINGS)
    for number in range(9):
        breaker.record(1.0 + number, number % 2 == 1)
    assert breaker.state(9.0) == "closed"
    breaker.record(10.0, True)
    breaker.record(10.0, False)
    assert breaker.state(10.0) == "open"
    assert breaker.reason is not None and "calls failed within 10 s" in breaker.reason


def test_slow_answers_open_it_too_but_it_takes_more_of_them() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(7):
        breaker.record(1.0, True, slow=True)
    for _ in range(3):
        breaker.record(1.0, True)
    assert breaker.state(1.0) == "closed"
    for _ in range(5):
        breaker.record(1.0, True, slow=True)
    assert breaker.state(1.0) == "open"
    assert breaker.reason is not None and "slow" in breaker.reason


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker(SETTINGS)
    for ok in (False, False, False, False, True, False, False, False, False):
        breaker.record(50.0, ok)
    assert breaker.counts(50.0).failed == 8
    assert breaker.counts(59.9).failed == 8
    assert breaker.counts(61.0) == Counts(in_a_row=4)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.booleans()), max_size=200))
def test_the_window_counts_what_it_saw_lately(calls: list[tuple[float, bool, bool]]) -> None:
    breaker = Breaker(BreakerSettings(min_requests=10**6, consecutive=10**6))
    now, seen = 0.0, []
    for pause, ok, slow in calls:
        now += pause
        breaker.record(now, ok, slow)
        seen.append((now, ok, slow))
        counts = breaker.counts(now)
        surely = [call for call in seen if call[0] > now - 9.0]
        perhaps = [call for call in seen if call[0] >= now - 10.0]
        assert len(surely) <= counts.total <= len(perhaps)
        assert sum(not ok for _, ok, _ in surely) <= counts.failed <= sum(not ok for _, ok, _ in perhaps)
        assert max(counts.failed, counts.slow) <= counts.bad <= counts.total


def test_half_open_lets_probes_through_and_closes_when_they_are_answered() -> None:
    breaker = tripped()
    assert not breaker.may_call(100.9)
    assert breaker.state(101.0) == "half_open"
    assert [breaker.may_call(101.0) for _ in range(5)] == [True, True, True, False, False]
    breaker.record(101.2, True, began=101.0)
    assert breaker.state(101.2) == "half_open"
    breaker.record(101.3, True, began=101.0)
    assert breaker.state(101.3) == "closed"
    assert breaker.retry_at is None
    assert breaker.reason is None
    assert all(breaker.may_call(101.3) for _ in range(50))


def test_answers_to_calls_from_before_the_opening_are_not_taken_for_probes() -> None:
    breaker = tripped()
    breaker.record(101.5, True, began=99.0)
    breaker.record(101.5, True, began=99.0)
    breaker.record(101.5, False, began=99.5)
    assert breaker.state(101.5) == "half_open"


def test_each_failed_probe_doubles_the_cooldown_up_to_the_cap_and_a_recovery_resets_it() -> None:
    breaker, now, waits = tripped(), 100.0, []
    for _ in range(9):
        assert breaker.retry_at is not None
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
        assert breaker.may_call(now)
        breaker.record(now, False, began=now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert breaker.retry_at is not None
    now = breaker.retry_at
    for _ in range(SETTINGS.probes_to_close):
        assert breaker.may_call(now)
        breaker.record(now, True, began=now)
    for _ in range(SETTINGS.consecutive):
        breaker.record(now, False)
    assert breaker.retry_at == now + 1


def test_a_slow_probe_is_no_recovery() -> None:
    breaker = tripped()
    assert breaker.may_call(101.0)
    breaker.record(105.0, True, slow=True, began=101.0)
    assert breaker.state(105.0) == "open"
    assert breaker.reason == "a probe was slow"


def test_a_lost_probe_is_replaced_after_a_while() -> None:
    breaker = tripped(BreakerSettings(probes=1, probe_timeout_s=30))
    assert breaker.may_call(101.0)
    assert not breaker.may_call(130.9)
    assert breaker.may_call(131.0)


def test_a_probe_that_was_not_sent_may_be_sent_by_another() -> None:
    breaker = tripped(BreakerSettings(probes=1))
    assert breaker.may_call(101.0)
    assert not breaker.may_call(101.0)
    breaker.give_back()
    assert breaker.may_call(101.0)


def test_retry_after_is_kept_and_is_no_failure() -> None:
    breaker = Breaker(SETTINGS)
    breaker.hold_until(10.0, 25.0)
    assert not breaker.may_call(24.9)
    assert breaker.reason == "the upstream asked to wait"
    assert breaker.state(25.0) == "half_open"
    breaker.hold_until(26.0, 20.0)
    assert breaker.state(26.0) == "half_open"
    assert breaker.may_call(26.0)
    breaker.record(26.0, False, began=26.0)
    assert breaker.retry_at == 27.0


def test_no_upstream_may_close_its_doors_for_ever() -> None:
    breaker = Breaker(SETTINGS)
    breaker.hold_until(0.0, 1e12)
    assert breaker.retry_at == SETTINGS.hold_cap_s


def test_a_hold_never_shortens_a_cooldown_nor_a_cooldown_a_hold() -> None:
    breaker = Breaker(SETTINGS)
    breaker.hold_until(0.0, 50.0)
    breaker.trip(0.0, "others saw failures")
    assert breaker.retry_at == 50.0
    breaker.hold_until(0.0, 20.0)
    assert breaker.retry_at == 50.0


class Probing(RuleBasedStateMachine):
    """Whatever happens, no more probes are under way than allowed, and none before the time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(SETTINGS)
        self.now = 0.0
        self.under_way: list[float] = []

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        state = self.breaker.state(self.now)
        allowed = self.breaker.may_call(self.now)
        assert allowed or state != "closed"
        assert not allowed or state != "open"
        if allowed:
            self.under_way.append(self.now)

    @precondition(lambda self: self.under_way)
    @rule(place=st.integers(0, 99), ok=st.booleans(), slow=st.booleans())
    def end(self, place: int, ok: bool, slow: bool) -> None:
        began = self.under_way.pop(place % len(self.under_way))
        self.breaker.record(self.now, ok, slow, began=began)

    @rule(count=st.integers(1, 12), ok=st.booleans())
    def many(self, count: int, ok: bool) -> None:
        for _ in itertools.takewhile(lambda _: self.breaker.state(self.now) == "closed", range(count)):
            self.breaker.record(self.now, ok, began=self.now)

    @rule(seconds=st.floats(-5, 1000))
    def hold(self, seconds: float) -> None:
        self.breaker.hold_until(self.now, self.now + seconds)

    @invariant()
    def probes_are_bounded(self) -> None:
        if self.breaker.state(self.now) == "half_open":
            since = self.breaker.retry_at or 0.0
            assert sum(began >= since for began in self.under_way) <= SETTINGS.probes

    @invariant()
    def it_always_opens_again(self) -> None:
        wait = (self.breaker.retry_at or self.now) - self.now
        assert wait <= max(SETTINGS.cooldown_cap_s, SETTINGS.hold_cap_s)


TestProbing = Probing.TestCase

counts = st.builds(
    lambda failed, good, slow, row: Counts(
        failed + good, failed, slow, min(failed + slow, failed + good), min(row, failed)
    ),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 5),
    st.integers(0, 30),
)


@given(st.lists(counts, max_size=6))
def test_the_shared_verdict_does_not_depend_on_the_order(reports: list[Counts]) -> None:
    assert merge(reports) == merge(reports[::-1])


@given(counts)
def test_one_process_alone_judges_as_all_together(report: Counts) -> None:
    if report.total:
        assert merge([report]) == merge([report, Counts()]) == judge(report, BreakerSettings())


@pytest.mark.parametrize(
    ("reports", "verdict"),
    [
        ([], Verdict(False)),
        ([Counts(3, 3, 0, 3, 3), Counts(2, 2, 0, 2, 2)], Verdict(True, "5 failures in a row")),
        # One has had a good answer last.
        ([Counts(4, 4, 0, 4, 4), Counts(4, 1, 0, 1, 0)], Verdict(False)),
        # Old failures of one that does not call any more.
        ([Counts(4, 4, 0, 4, 4), Counts(0, 0, 0, 0, 4)], Verdict(False)),
        # None of them has enough calls alone.
        (
            [Counts(6, 3, 0, 3, 1), Counts(6, 3, 0, 3, 0)],
            Verdict(True, "6 of 12 calls failed within 10 s"),
        ),
        (
            [Counts(6, 0, 5, 5, 0), Counts(6, 1, 5, 5, 1)],
            Verdict(True, "10 of 12 calls failed or were slow within 10 s"),
        ),
    ],
)
def test_several_processes_see_more_than_each_of_them(reports: list[Counts], verdict: Verdict) -> None:
    assert merge(reports) == verdict
