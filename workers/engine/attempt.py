"""One attempt at a job: send it on its way within its time limit, and turn what happened into an outcome."""

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog

from core import ids
from core.store.work import Finish, Requeue
from core.telemetry.metrics import ATTEMPTS, TOKENS, TTFT_SECONDS, UPSTREAM_SECONDS
from policies.backoff import retry_delay
from policies.catalog import Deployment
from policies.costs import cost_usd, total
from workers.engine.deltas import DeltaStream
from workers.engine.job import Job
from workers.engine.journey import Journey, NowhereToGo
from workers.engine.trail import Trail
from workers.providers.protocol import Provider, ProviderError, Reply, UpstreamTiming
from workers.routing.router import Router

_log = structlog.get_logger(__name__)
_USAGE: Final = ("input_tokens", "output_tokens", "cached_tokens", "total_tokens")


class Attempts:
    """Runs attempts with the providers of one process.

    Args:
        router: knows the deployments.
        providers: by the provider names of the catalog.
    """

    def __init__(self, router: Router, providers: Mapping[str, Provider]) -> None:
        self.router = router
        self._providers = providers
        self._rng = random.Random()

    async def run(self, job: Job, stream: DeltaStream) -> Finish | Requeue:
        """Run one attempt and return the move it leads to; never raises but for cancellation."""
        journey = Journey(job, stream, self.router, self._providers)
        try:
            reply = await journey.run()
        except NowhereToGo as nowhere:
            return self._untried(job, stream, nowhere)
        except ProviderError as error:
            return self._failed(job, journey.trail, stream, error)
        except Exception as error:  # noqa: BLE001 - one broken job must not break the others
            return self.broke(job, stream, error, journey.trail)
        return self._succeeded(job, journey.trail, stream, reply)

    def broke(self, job: Job, stream: DeltaStream, error: Exception, trail: Trail | None = None) -> Finish | Requeue:
        """Return the move for a defect of ours in one job's path: the job says so, and may be tried again. Logs it."""
        _log.error("attempt_broke", job_id=ids.encode(ids.JOB, job.id), exc_info=error)
        broken = ProviderError("internal_error", f"The worker failed: {type(error).__name__}.", retryable=True)
        return self._failed(job, trail or Trail(), stream, broken)

    def _succeeded(self, job: Job, trail: Trail, stream: DeltaStream, reply: Reply) -> Finish | Requeue:
        assert trail.deployment is not None  # noqa: S101 - a reply came from somewhere
        try:
            result = orjson.dumps(reply.body).decode()
        except (TypeError, ValueError):
            error = ProviderError("bad_reply", "The upstream's answer is not valid JSON.", retryable=True)
            return self._failed(job, trail, stream, error)
        _measure(job, trail.deployment, reply)
        usage = None
        if reply.usage is not None:
            usage = {name: getattr(reply.usage, name) for name in _USAGE}
            if trail.economy is not None:
                usage["saved_tokens"] = trail.economy.saved_tokens
        return Finish(
            job.id,
            job.lease_no,
            "succeeded",
            stream.last_seq,
            result=result,
            usage=_json(usage),
            cost_usd=_cost(trail, reply),
            route=_json(_route(job, trail)),
            timing=_json(_timing(job, reply.timing, trail, reply.merged)),
            deployment=trail.deployment.name,
            ttft_ms=reply.timing.ttft_ms,
            batch_size=job.batch_size,
            model=trail.deployment.model if trail.deployment.model != job.model else None,
            plain=job.plain,
        )

    def _untried(self, job: Job, stream: DeltaStream, nowhere: NowhereToGo) -> Requeue:
        """Nothing can take the job now: it waits in the queue, and no attempt is counted."""
        ATTEMPTS.labels(job.model, "handed_back", nowhere.reason).inc()
        return Requeue(
            job.id, job.lease_no, "handed_back", nowhere.reason, stream.last_seq, delay_s=nowhere.pause_s,
            batch_size=job.batch_size,
        )  # fmt: skip

    def _failed(self, job: Job, trail: Trail, stream: DeltaStream, error: ProviderError) -> Finish | Requeue:
        again = error.retryable and not job.last
        ATTEMPTS.labels(job.model, "retried" if again else "failed", error.code).inc()
        name = trail.deployment.name if trail.deployment else None
        details = error.told()
        if again:
            delay = retry_delay(job.attempt, retry_after=error.retry_after_s, rng=self._rng)
            return Requeue(
                job.id, job.lease_no, "retried", error.code, stream.last_seq, delay_s=delay, reset=stream.streamed,
                error=_json(details), deployment=name, batch_size=job.batch_size,
            )  # fmt: skip
        ending, own = details, None
        if error.retryable:
            ending, own = error.gave_up(job.attempt), details
        timing = _timing(job, UpstreamTiming(upstream_ms=error.upstream_ms), trail)
        return Finish(
            job.id, job.lease_no, "failed", stream.last_seq, error=_json(ending), attempt_error=_json(own),
            route=_json(_route(job, trail)), timing=_json(timing), deployment=name, batch_size=job.batch_size,
            plain=job.plain,
        )  # fmt: skip


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _cost(trail: Trail, reply: Reply) -> Decimal | None:
    assert trail.deployment is not None  # noqa: S101 - a reply came from somewhere
    cost = cost_usd(trail.deployment.price, reply.usage)
    return total([cost, *trail.costs]) if trail.costs else cost


def _route(job: Job, trail: Trail) -> dict[str, Any] | None:
    """Say where the job went and why; what was said when it was accepted comes first."""
    deployment, accepted = trail.deployment, job.route
    if deployment is None:
        return None
    reason = trail.reason or ""
    return {
        "model": deployment.upstream_model or deployment.model,
        "deployment": deployment.name,
        "region": deployment.region,
        "tier": accepted.get("tier") if accepted else None,
        "reason": f"{accepted['reason']}; {reason}" if accepted and accepted.get("reason") else reason,
        "fallbacks": trail.fallbacks,
    }


def _timing(job: Job, upstream: UpstreamTiming, trail: Trail, merged: int = 1) -> dict[str, Any]:
    queued, running = job.queued_ms, job.running_ms()
    spent = (upstream.upstream_ms or 0.0) + trail.lost_ms
    timing = {
        "queued_ms": queued,
        # The jobs that shared the upstream call; where it was this job's alone, those that were claimed together.
        "batch_size": merged if merged > 1 else job.batch_size,
        "connect_ms": upstream.connect_ms,
        "ttft_ms": upstream.ttft_ms,
        "itl_ms": upstream.itl_ms,
        "tokens_per_s": upstream.tokens_per_s,
        "upstream_ms": upstream.upstream_ms,
        # What the caller waited for besides upstreams: the honest meaning of overhead.
        "overhead_ms": max(0.0, queued + running - spent),
        "total_ms": queued + running,
    }
    if trail.thrift_ms is not None:
        timing["thrift_ms"] = trail.thrift_ms
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in timing.items()}


def _measure(job: Job, deployment: Deployment, reply: Reply) -> None:
    ATTEMPTS.labels(job.model, "succeeded", "").inc()
    if reply.timing.upstream_ms is not None:
        UPSTREAM_SECONDS.labels(deployment.name).observe(reply.timing.upstream_ms / 1000)
    if reply.timing.ttft_ms is not None:
        TTFT_SECONDS.labels(deployment.name).observe(reply.timing.ttft_ms / 1000)
    if reply.usage is not None:
        TOKENS.labels(job.model, "input").inc(reply.usage.input_tokens)
        TOKENS.labels(job.model, "output").inc(reply.usage.output_tokens)
