"""Prometheus metrics of API and workers: declared in one place, merged onto one page.

Each process keeps its own numbers and shows them in its row of ``processes``; the API merges the rows of all living processes,
each series with a ``process`` label, so that a restart is a counter reset for Prometheus and nothing worse.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from core.settings import JOB_LANES

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY: Final = CollectorRegistry()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HTTP_REQUESTS: Final = Counter(
    "coatcheck_http_requests", "Requests answered by the API.", ("route", "method", "status"), registry=REGISTRY
)
HTTP_SECONDS: Final = Histogram(
    "coatcheck_http_request_seconds", "Time to answer a request, long-polls and streams left out.", ("route",),
    buckets=_SECONDS, registry=REGISTRY,
)  # fmt: skip
JOBS_ACCEPTED: Final = Counter("coatcheck_jobs_accepted", "Jobs stored.", ("lane",), registry=REGISTRY)
COMMIT_JOBS: Final = Histogram(
    "coatcheck_accept_commit_jobs",
    "Jobs in one group commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
WAITING: Final = Gauge("coatcheck_waiters", "Long-polls and event streams that are open.", registry=REGISTRY)
DOORBELLS: Final = Counter("coatcheck_doorbells", "Doorbells by what became of them.", ("result",), registry=REGISTRY)

CLAIMS: Final = Counter(
    "coatcheck_claims", "Claims made, by whether they found work.", ("lane", "found"), registry=REGISTRY
)
CLAIM_JOBS: Final = Histogram(
    "coatcheck_claim_jobs", "Jobs in one claim that found work.", ("lane",), buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)  # fmt: skip
IN_FLIGHT: Final = Gauge("coatcheck_jobs_in_flight", "Jobs running in this process.", ("lane",), registry=REGISTRY)
ATTEMPTS: Final = Counter(
    "coatcheck_attempts", "Attempts ended, by outcome and error code.", ("model", "outcome", "code"), registry=REGISTRY
)
LANE_TARGETS: Final = Counter(
    "coatcheck_lane_target_jobs",
    "Jobs ended within their lane's target, and later.",
    ("lane", "result"),
    registry=REGISTRY,
)
RESERVED: Final = Gauge(
    "coatcheck_reserved_slots", "Slots that this process keeps for a lane.", ("lane",), registry=REGISTRY
)
QUEUED_SECONDS: Final = Histogram(
    "coatcheck_queued_seconds", "Time from due to claimed.", ("lane",), buckets=_SECONDS, registry=REGISTRY
)
TTFT_SECONDS: Final = Histogram(
    "coatcheck_time_to_first_token_seconds", "Upstream's time to the first token.", ("deployment",), buckets=_SECONDS,
    registry=REGISTRY,
)  # fmt: skip
UPSTREAM_CONNECTIONS: Final = Counter(
    "coatcheck_upstream_connections",
    "Connections to upstreams by how a call got one: opened for it, reused, or warmed before there was one.",
    ("deployment", "how"),
    registry=REGISTRY,
)
CACHE_LOOKUPS: Final = Counter(
    "coatcheck_cache_lookups", "Look-ups of kept answers by what was there.", ("result",), registry=REGISTRY
)
CACHE_STORES: Final = Counter(
    "coatcheck_cache_stores", "Answers to be kept by what became of them.", ("result",), registry=REGISTRY
)
CACHE_JOBS: Final = Counter(
    "coatcheck_cache_jobs", "Jobs ended by what caches did for them.", ("status",), registry=REGISTRY
)
KEEP_WARM_PINGS: Final = Counter(
    "coatcheck_keep_warm_pings", "Pings of keep_warm schedules by outcome.", ("outcome",), registry=REGISTRY
)
CACHE_AWAY: Final = Counter("coatcheck_cache_away", "Times that the cache did not answer in time.", registry=REGISTRY)
SEMANTIC_LOOKUPS: Final = Counter(
    "coatcheck_semantic_lookups", "Look-ups of near questions by what came of them.", ("result",), registry=REGISTRY
)
SEMANTIC_SECONDS: Final = Histogram(
    "coatcheck_semantic_seconds",
    "Time of a look-up of near questions, from the vector to the answer.",
    buckets=(0.001, 0.002, 0.004, 0.006, 0.01, 0.02, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
SEMANTIC_STORES: Final = Counter(
    "coatcheck_semantic_stores", "Vectors to be kept by what became of them.", ("result",), registry=REGISTRY
)
SEMANTIC_SHADOWS: Final = Counter(
    "coatcheck_semantic_shadows",
    "Answers compared in shadow mode, by what the guard said.",
    ("result",),
    registry=REGISTRY,
)
SCREENING_FINDINGS: Final = Counter(
    "coatcheck_screening_findings", "Findings of screening rules.", ("rule", "mode"), registry=REGISTRY
)
UPSTREAM_SECONDS: Final = Histogram(
    "coatcheck_upstream_seconds",
    "Upstream's time for a whole call.",
    ("deployment",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
TOKENS: Final = Counter("coatcheck_tokens", "Tokens as reported by upstreams.", ("model", "type"), registry=REGISTRY)
FAILOVERS: Final = Counter(
    "coatcheck_failovers", "Calls that failed and went on elsewhere, by where they failed.", ("deployment", "code"),
    registry=REGISTRY,
)  # fmt: skip
HEDGES: Final = Counter(
    "coatcheck_hedges", "Second requests beside slow ones, by whether they answered first.", ("model", "result"),
    registry=REGISTRY,
)  # fmt: skip
SWEPT: Final = Counter("coatcheck_swept_jobs", "Jobs moved by the sweep.", ("move",), registry=REGISTRY)
DROPPED: Final = Counter("coatcheck_dropped_outcomes", "Outcomes of attempts whose lease was gone.", registry=REGISTRY)
DELIVERIES: Final = Counter("coatcheck_webhook_tries", "Webhook tries by result.", ("result",), registry=REGISTRY)


def snapshot() -> str:
    """Return this process's metrics as Prometheus text."""
    return generate_latest(REGISTRY).decode()


def merge(pages: Iterable[tuple[str, str]], depths: Iterable[tuple[str, int, float]]) -> bytes:
    """Return one page for all processes.

    Args:
        pages: (process label, Prometheus text) of each living process.
        depths: (lane, ready jobs, age of the oldest in seconds).
    """
    families: dict[str, Metric] = {}
    for process, page in pages:
        for family in text_string_to_metric_families(page):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    merged.add_sample(sample.name, {**sample.labels, "process": process}, sample.value)
    depth = Metric("coatcheck_queue_depth", "Ready jobs waiting for a worker.", "gauge")
    age = Metric("coatcheck_queue_age_seconds", "Age of the oldest ready job.", "gauge")
    # An empty lane is a zero, not a gap: alerts must be able to tell the two apart.
    for lane, (count, oldest) in (dict.fromkeys(JOB_LANES, (0, 0.0)) | {lane: (n, s) for lane, n, s in depths}).items():
        depth.add_sample(depth.name, {"lane": lane}, count)
        age.add_sample(age.name, {"lane": lane}, oldest)
    return generate_latest(_Page([*families.values(), depth, age]))


class _Page(CollectorRegistry):
    def __init__(self, families: list[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
