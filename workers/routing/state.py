"""What this process knows of one deployment: what runs there, how it does, and how much of it this process may use."""

import time
from typing import Any, Final

from policies.balancing import Candidate, PeakEwma
from policies.breaker import Breaker
from policies.catalog import MERGEABLE, Deployment
from policies.failover import classify
from policies.slowness import FIRST, Slowness, kind_of
from workers.providers.limits import UpstreamLimits
from workers.providers.protocol import ProviderError, UpstreamTiming, Usage
from workers.routing.record import Record
from workers.routing.share import Part

# A first token that takes so many times the usual is a sick upstream's; a quick one may be that much slower by chance.
_SLOW_TIMES: Final = 5.0
_SLOW_MS: Final = 2000.0
# A failure counts as slow as this in the balance, or who fails fast would look quick.
_FAILURE_MS: Final = 1000.0
# Failure after failure makes it look slower and slower, up to this: from here it is back among the others within half a minute.
_MOST_FAILURE_MS: Final = 10_000.0
_NEARLY: Final = 1e-6

clock = time.monotonic


class DeploymentState:
    """One deployment, as seen and used by this process. Lives on the engine's loop.

    Attributes:
        part: what this process may use of the limits that all workers share.
        jobs: jobs under way there.
        units: the same in merge units: a job that can share a call counts 1, one that cannot ``deployment.merge_items``.
        unsaid: parts of failed calls that jobs shared: together they are one failure, not one for each job.
        reason: why it is chosen when there is no choice.
        news: counts for the other processes, see ``Coordinator``.
    """

    __slots__ = (
        "breaker", "called_at", "completed", "deployment", "ewma", "jobs", "merge", "name", "overloaded", "part",
        "peak", "price", "probing", "reason", "record", "rest_until", "siblings", "slowness", "ttft", "units", "unsaid",
    )  # fmt: skip

    def __init__(self, deployment: Deployment) -> None:
        self.name = deployment.name
        self.units = 0
        self.jobs = 0
        self.called_at = float("-inf")
        self.unsaid = 0.0
        self.probing = 0
        self.peak = 0
        self.completed = 0
        self.overloaded = 0
        self.slowness = Slowness()
        self.rest_until = 0.0
        self.siblings = 0
        self.breaker = Breaker()
        self.ewma = PeakEwma()
        self.ttft = PeakEwma()
        self.record = Record()
        self.part = Part(deployment)
        self.renew(deployment)

    def renew(self, deployment: Deployment) -> None:
        """Take over what the catalog says now."""
        self.deployment = deployment
        self.merge = max(1, deployment.merge_items)
        self.price = None if deployment.price is None else deployment.price.input + deployment.price.output
        self.reason = f"{deployment.name} is the deployment of {deployment.model}"
        self.part.renew(deployment)

    @property
    def shared(self) -> bool:
        """Whether all workers together are limited: what runs inside a worker is its own."""
        return self.deployment.provider != "local"

    @property
    def nearly_full(self) -> bool:
        """Whether it has room for one more call at most."""
        return self.part.slots * self.merge - self.units <= self.merge

    def weight_of(self, endpoint: str) -> int:
        """Return how many units a job at ``endpoint`` takes."""
        return 1 if self.merge == 1 or endpoint in MERGEABLE else self.merge

    def usable(self, now: float) -> bool:
        """Tell whether calls may go there now, room or not."""
        return self.breaker.retry_at is None or self.breaker.state(now) != "open"

    def free(self, now: float) -> int:
        """Return how many units this process may take on now."""
        room = self.part.slots * self.merge - self.units
        if self.part.metered:
            room = min(room, self.part.calls_left * self.merge)
        if self.breaker.retry_at is not None:
            state = self.breaker.state(now)
            if state == "open":
                return 0
            if state == "half_open":
                room = min(room, (self.breaker.settings.probes - self.probing) * self.merge)
        return max(0, room)

    def candidate(self, now: float, free: int) -> Candidate:
        """Return it as the balancing policies see it."""
        # What it was like before it fell ill and while it was says nothing about one that is being probed.
        unknown = self.breaker.retry_at is not None
        return Candidate(
            self.name, self.deployment.region, self.deployment.weight, self.units, free,
            0.0 if unknown else self.ewma.value(now), None if unknown else self.ttft.value(now) or None, self.price,
        )  # fmt: skip

    def begin(self, endpoint: str, tokens: int) -> "Visit":
        """Count a call in."""
        now = clock()
        probe = self.breaker.retry_at is not None and self.breaker.state(now) == "half_open"
        if probe:
            probe = self.breaker.may_call(now)
            self.probing += probe
        weight = self.weight_of(endpoint)
        self.units += weight
        self.jobs += 1
        self.called_at = now
        self.peak = max(self.peak, self.units)
        self.record.calls += 1
        if self.part.metered:
            self.part.spend(1 if self.merge == 1 else 0, tokens)
        return Visit(self, weight, tokens, now, probe)

    def rest(self, now: float, seconds: float) -> None:
        """Call it no more for so long: it asked for that."""
        until = now + seconds
        if until > self.rest_until:
            self.rest_until = until
            self.breaker.hold_until(now, until)

    def shown(self) -> dict[str, Any]:
        """Return what the process's row says of it. Called on the heartbeat's thread."""
        now = clock()
        state = self.breaker.state(now)
        return self.record.shown() | {
            "in_flight": self.jobs,
            "breaker": {"state": state, "reason": None if state == "closed" else self.breaker.reason},
            "allotment": self.part.slots,
            "limit": self.part.limit,
        }


class Visit:
    """One call to a deployment, from start to end. Exactly one of ``answered``, ``failed`` and ``left`` ends it."""

    __slots__ = ("_open", "began", "probe", "state", "tokens", "weight")

    def __init__(self, state: DeploymentState, weight: int, tokens: int, began: float, probe: bool) -> None:
        self.state = state
        self.weight = weight
        self.tokens = tokens
        self.began = began
        self.probe = probe
        self._open = True

    def answered(self, timing: UpstreamTiming, usage: Usage | None, limits: UpstreamLimits | None) -> None:
        """It brought an answer that used so many tokens (None: not told)."""
        state, now = self.state, clock()
        late = state.record.ttft_p50
        if self.probe:
            state.ewma, state.ttft = PeakEwma(), PeakEwma()
        state.record.answered(timing)
        first, whole = timing.ttft_ms, timing.upstream_ms or (now - self.began) * 1000
        if first is not None:
            state.ttft.observe(first, now)
        # How long the rest takes is a matter of how much was asked for; how long the start takes says how busy it is.
        state.ewma.observe(whole if first is None else first, now)
        slow = first is not None and late is not None and first > max(_SLOW_TIMES * late, _SLOW_MS)
        state.completed += 1
        if first is not None:
            state.slowness.observe(now, FIRST, first)
        elif usage is not None and self.weight == state.merge:
            # How long a call takes that jobs share says nothing of one of them.
            state.slowness.observe(now, kind_of(usage.input_tokens, usage.output_tokens), whole)
        if usage is not None and state.part.metered:
            state.part.settle(usage.total_tokens - self.tokens)
        self._close()
        state.breaker.record(now, ok=True, slow=slow, began=self.began)
        wait = None if limits is None else limits.wait_s
        if wait:
            state.rest(now, wait)

    def failed(self, error: ProviderError) -> None:
        """It ended with an error."""
        state, now = self.state, clock()
        kind = classify(error.code, error.upstream_status)
        wait = error.retry_after_s
        if wait is None and error.limits is not None:
            wait = error.limits.wait_s
        self._close()
        if error.merged > 1 and not self._speaks_for(error.merged):
            self._unsaid()
            return
        if kind == "overload":
            state.overloaded += 1
        if kind is None or kind in ("context", "refused") or not (error.retryable or state.siblings):
            # The request's own fault, or one that no waiting helps: whoever answers like that is well.
            state.breaker.record(now, ok=True, slow=error.code == "timeout", began=self.began)
        elif error.code == "rate_limited":
            self._unsaid()
        else:
            state.record.failed()
            penalty = min(max(_FAILURE_MS, 2 * state.ewma.value(now)), _MOST_FAILURE_MS)
            state.ewma.observe(max((now - self.began) * 1000, penalty), now)
            state.breaker.record(now, ok=False, slow=error.code == "upstream_timeout", began=self.began)
        if wait and kind == "overload":
            state.rest(now, wait)

    def _speaks_for(self, jobs: int) -> bool:
        """Tell whether this job is the one of ``jobs`` that reports the call which they shared."""
        state = self.state
        state.unsaid += 1 / jobs
        if state.unsaid < 1 - _NEARLY:
            return False
        state.unsaid -= 1
        return True

    def left(self) -> None:
        """It was cancelled: that says nothing about the deployment."""
        if self._open:
            self._close()
            self._unsaid()

    def _unsaid(self) -> None:
        if self.probe:
            self.state.breaker.give_back()

    def _close(self) -> None:
        self._open = False
        state = self.state
        state.units -= self.weight
        state.jobs -= 1
        if self.probe:
            state.probing -= 1
