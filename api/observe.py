"""Counting requests. Label look-ups are remembered: they would cost more than the counting."""

from functools import lru_cache

from prometheus_client import Counter, Histogram

from core.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS, JOBS_ACCEPTED

_WAITS = frozenset({"/v1/jobs/{id}/events"})


@lru_cache(maxsize=1000)
def _counter(route: str, method: str, status: int) -> Counter:
    return HTTP_REQUESTS.labels(route, method, str(status))


@lru_cache(maxsize=1000)
def _histogram(route: str) -> Histogram:
    return HTTP_SECONDS.labels(route)


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request.

    Args:
        method: the HTTP method; the parser knows only real ones.
        route: the route's path with its parameter names, empty where none matched.
        status: the answer's status; 499 when the client left before.
        seconds: the time it took.
    """
    route = route or "none"
    _counter(route, method, status).inc()
    if route not in _WAITS:
        _histogram(route).observe(seconds)


@lru_cache(maxsize=10)
def accepted_jobs(lane: str) -> Counter:
    """Return the counter of jobs accepted for a lane."""
    return JOBS_ACCEPTED.labels(lane)
