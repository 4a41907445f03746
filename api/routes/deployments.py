"""GET /v1/deployments: the upstreams, with what the living workers report of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.answers import Answer
from api.auth import ADMIN
from api.routes.catalog import listed
from api.routing import Call, needs
from core.presence import alive
from policies.catalog import Deployment

Report = Mapping[str, Any]

_LATENCIES: Final = ("ttft_ms", "itl_ms", "total_ms")
_SHARES: Final = ("p50", "p95", "p99")
#: From the most careful to the least.
_BREAKER: Final = ("open", "half_open", "closed")
#: One failed call may be chance; so many in a row, and no answer since, are not.
_FAILING: Final = 3
_WINDOW: Final = 256


@needs(ADMIN)
async def get_deployments(call: Call) -> Answer:
    """Return the upstreams and how they are doing."""
    call.query()
    workers = [process.health for process in await alive(call.services.engine) if process.kind == "worker"]
    return listed([deployment_as_json(deployment, workers) for deployment in call.services.catalog.deployments])


def deployment_as_json(deployment: Deployment, workers: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Return one deployment, given the health that each worker reports. Members that a worker leaves out count as unknown."""
    reports = [found for health in workers if (found := _report(health, deployment.name)) is not None]
    return {
        "id": deployment.name,
        "object": "deployment",
        "model": deployment.model,
        "provider": deployment.provider,
        "region": deployment.region,
        "endpoints": sorted(deployment.endpoints),
        "max_concurrency": deployment.max_concurrency,
        "workers": len(workers),
        "health": _health(reports),
        **_breaker(reports),
        "in_flight": _sum(reports, "in_flight"),
        "limit": min((limit for report in reports if (limit := _number(report, "limit")) > 0), default=None),
        "allotted": _sum(reports, "allotment"),
        "calls": _sum(reports, "calls"),
        "errors": _sum(reports, "errors"),
        "hedges": _sum(reports, "hedges"),
        "cold_start_ms": _slowest(reports, "cold_start_ms"),
        "latency": {measure: _percentiles(reports, measure) for measure in _LATENCIES},
        "tokens_per_s": _percentiles(reports, "tokens_per_s"),
    }


def _report(health: Mapping[str, object], name: str) -> Report | None:
    deployments = health.get("deployments")
    found = deployments.get(name) if isinstance(deployments, dict) else None
    return found if isinstance(found, dict) else None


def _number(report: Report, name: str) -> int:
    value = report.get(name)
    return value if isinstance(value, int) else 0


def _sum(reports: Sequence[Report], name: str) -> int:
    return sum(_number(report, name) for report in reports)


def _answered(report: Report) -> int:
    return max(0, _number(report, "calls") - _number(report, "errors") - _number(report, "in_flight"))


def _health(reports: Sequence[Report]) -> str:
    seen = [report for report in reports if _answered(report) or _number(report, "errors")]
    if not seen:
        return "unknown"
    in_a_row = [_number(report, "failing_in_a_row") for report in seen]
    return "failing" if min(in_a_row) > 0 and sum(in_a_row) >= _FAILING else "ok"


def _breaker(reports: Sequence[Report]) -> dict[str, str | None]:
    """Return what most of a caution the workers show: they tell each other, so they differ for a moment only."""
    shown = [found for report in reports if isinstance(found := report.get("breaker"), dict)]
    for state in _BREAKER:
        reasons = [told.get("reason") for told in shown if told.get("state") == state]
        if reasons:
            return {"breaker": state, "breaker_reason": next((text for text in reasons if isinstance(text, str)), None)}
    return {"breaker": None, "breaker_reason": None}


def _slowest(reports: Sequence[Report], name: str) -> float | None:
    return max((float(value) for report in reports if isinstance(value := report.get(name), int | float)), default=None)


def _percentiles(reports: Sequence[Report], measure: str) -> dict[str, float | None]:
    return {share: _combined(reports, measure, share) for share in _SHARES}


def _combined(reports: Sequence[Report], measure: str, share: str) -> float | None:
    """Return the mean of the workers' percentiles, weighted by the answers behind each: near enough without their values."""
    weighted = []
    for report in reports:
        measured = report.get(measure)
        value = measured.get(share) if isinstance(measured, dict) else None
        if isinstance(value, int | float):
            weighted.append((float(value), min(_WINDOW, max(1, _answered(report)))))
    if not weighted:
        return None
    return round(sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted), 2)
