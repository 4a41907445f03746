"""When to stop calling a deployment, and when to try it again. Pure; times in seconds of one clock.

closed ──too many failures──▶ open ──cooldown over──▶ half_open ──probes answered──▶ closed
  ▲                            ▲                         │
  └── (Retry-After: hold) ─────┴────a probe fails────────┘   cooldown × 2, up to the cap
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["closed", "open", "half_open"]
_BUCKETS: Final = 10


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens and how it closes again. Rates are shares between 0 and 1, times in seconds."""

    window_s: float = 10.0
    min_requests: int = 10
    error_rate: float = 0.5
    slow_rate: float = 0.8
    """Calls that timed out or whose first token came far too late, together with the failed ones."""
    consecutive: int = 5
    cooldown_s: float = 1.0
    cooldown_factor: float = 2.0
    cooldown_cap_s: float = 60.0
    probes: int = 3
    """How many calls may be under way while half open."""
    probes_to_close: int = 2
    probe_timeout_s: float = 60.0
    """A probe that nobody reported on by then is taken for lost and may be sent again."""
    hold_cap_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What one process saw of a deployment within the window. `failed` and `slow` overlap where a call was both."""

    total: int = 0
    failed: int = 0
    slow: int = 0
    bad: int = 0
    """Failed or slow or both."""
    in_a_row: int = 0
    """Failures since the last good answer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to stop calling, and why in words."""

    trips: bool
    reason: str | None = None


def judge(counts: Counts, settings: BreakerSettings) -> Verdict:
    """Say whether these counts are reason enough to open."""
    if counts.in_a_row >= settings.consecutive:
        return Verdict(True, f"{counts.in_a_row} failures in a row")
    if counts.total >= settings.min_requests:
        if counts.failed >= settings.error_rate * counts.total:
            return Verdict(True, f"{counts.failed} of {counts.total} calls failed within {settings.window_s:g} s")
        if counts.bad >= settings.slow_rate * counts.total:
            return Verdict(
                True, f"{counts.bad} of {counts.total} calls failed or were slow within {settings.window_s:g} s"
            )
    return Verdict(False)


def merge(reports: Iterable[Counts], settings: BreakerSettings | None = None) -> Verdict:
    """Return the verdict over what several processes saw, in any order.

    Failures in a row are added up only when every process that called lately had a failure last: one that has just had a good
    answer knows better. One that did not call lately doesn't count: its failures may have been healed since.
    """
    active = [report for report in reports if report.total]
    agreed = all(report.in_a_row for report in active)
    whole = Counts(
        total=sum(report.total for report in active),
        failed=sum(report.failed for report in active),
        slow=sum(report.slow for report in active),
        bad=sum(report.bad for report in active),
        in_a_row=sum(report.in_a_row for report in active) if agreed else 0,
    )
    return judge(whole, settings or BreakerSettings())


class Window:
    """Counts of the last seconds, in ten buckets; what is older than the window is gone at the latest a bucket later."""

    __slots__ = ("_buckets", "_in_a_row", "_width")

    def __init__(self, window_s: float) -> None:
        self._width = window_s / _BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        # Number of the bucket's slice of time, total, failed, slow, bad.
        self._buckets = [[-1, 0, 0, 0, 0] for _ in range(_BUCKETS)]
        self._in_a_row = 0

    def add(self, now: float, ok: bool, slow: bool) -> None:
        """Count one call that ended at `now`."""
        number = int(now // self._width)
        bucket = self._buckets[number % _BUCKETS]
        if bucket[0] != number:
            bucket[:] = [number, 0, 0, 0, 0]
        bucket[1] += 1
        bucket[2] += not ok
        bucket[3] += slow
        bucket[4] += slow or not ok
        self._in_a_row = 0 if ok else self._in_a_row + 1

    def counts(self, now: float) -> Counts:
        """Return what the window holds."""
        oldest = int(now // self._width) - _BUCKETS
        live = [bucket for bucket in self._buckets if bucket[0] > oldest]
        total, failed, slow, bad = (sum(bucket[place] for bucket in live) for place in (1, 2, 3, 4))
        return Counts(total, failed, slow, bad, self._in_a_row)


class Breaker:
    """The breaker of one deployment."""

    __slots__ = (
        "_cooldown_s",
        "_good",
        "_open_until",
        "_probes",
        "_tripped",
        "_window",
        "reason",
        "settings",
    )

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.settings = settings or BreakerSettings()
        self.reason: str | None = None
        """Why it is not closed, in words."""
        self._window = Window(self.settings.window_s)
        self._open_until: float | None = None
        self._tripped = False
        self._cooldown_s = self.settings.cooldown_s
        self._probes: list[float] = []
        self._good = 0

    @property
    def retry_at(self) -> float | None:
        """When the first probe may be sent; None when closed."""
        return self._open_until

    def state(self, now: float) -> State:
        """Return `closed`, `open` or `half_open`."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half_open"

    def counts(self, now: float) -> Counts:
        """Return what this process saw within the window, to be merged with the others'."""
        return self._window.counts(now)

    def may_call(self, now: float) -> bool:
        """Whether a call may be started. While half open a yes is a probe: ask only when the call will really be made."""
        state = self.state(now)
        if state != "half_open":
            return state == "closed"
        self._probes = [began for began in self._probes if now - began < self.settings.probe_timeout_s]
        if len(self._probes) >= self.settings.probes:
            return False
        self._probes.append(now)
        return True

    def give_back(self) -> None:
        """The call that `may_call` allowed was not made, or was cancelled: it says nothing, and another may probe."""
        if self._probes:
            # The oldest: should another of them be the lost one, it is only waited for longer.
            self._probes.pop(0)

    def record(self, now: float, ok: bool, slow: bool = False, *, began: float | None = None) -> None:
        """A call ended. `slow`: it timed out or its first token came far too late; `began`: when it was started, if known."""
        state = self.state(now)
        if state == "closed":
            self._window.add(now, ok, slow)
            if ok and not slow:
                return
            verdict = judge(self._window.counts(now), self.settings)
            if verdict.trips:
                self.trip(now, verdict.reason)
        elif state == "half_open" and (began is None or began >= (self._open_until or 0.0)):
            # What was started before says nothing about how the deployment does now.
            self.give_back()
            if not ok or slow:
                self.trip(now, "a probe failed" if not ok else "a probe was slow")
                return
            self._good += 1
            if self._good >= self.settings.probes_to_close:
                self.close()

    def trip(self, now: float, reason: str | None) -> None:
        """Open, also when others saw the reason. Each time without a recovery between, for longer; up to the cap."""
        if self.state(now) == "open" and self._tripped:
            return
        settings = self.settings
        if self._tripped:
            self._cooldown_s = min(self._cooldown_s * settings.cooldown_factor, settings.cooldown_cap_s)
        self._tripped = True
        self._open(max(now + self._cooldown_s, self._open_until or 0.0), reason)

    def hold_until(self, now: float, until: float, reason: str = "the upstream asked to wait") -> None:
        """Call no more before `until`, at most `hold_cap_s` from now. No failure is counted; afterwards it is probed."""
        until = min(until, now + self.settings.hold_cap_s)
        if until > max(now, self._open_until or 0.0):
            self._open(until, reason)

    def close(self) -> None:
        """All is well again: counts and cooldown begin anew."""
        self._open_until = None
        self._tripped = False
        self._cooldown_s = self.settings.cooldown_s
        self._probes.clear()
        self._good = 0
        self._window.clear()
        self.reason = None

    def _open(self, until: float, reason: str | None) -> None:
        self._open_until = until
        self._probes.clear()
        self._good = 0
        self._window.clear()
        self.reason = reason
