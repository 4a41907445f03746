"""One attempt at a job: find its deployment, call it within the time limit, turn what happened into an outcome."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import structlog

from core import ids
from core.store.work import Finish, Requeue
from core.telemetry.metrics import ATTEMPTS, TOKENS, TTFT_SECONDS, UPSTREAM_SECONDS
from core.telemetry.traces import child_traceparent
from policies.backoff import retry_delay
from policies.catalog import Catalog, Deployment
from workers.engine.deltas import DeltaStream
from workers.engine.deployments import DeploymentStats
from workers.engine.job import Job
from workers.providers.protocol import Call, Delta, Provider, ProviderError, Reply, UpstreamTiming

_log = structlog.get_logger(__name__)

# A model that this process does not know may be one that a newer catalog of another process does.
_UNKNOWN_MODEL_PAUSE_S: Final = 5.0


class Attempts:
    """Runs attempts with the providers of one process.

    Args:
        catalog: returns the catalog in force.
        providers: by the provider names of the catalog.
        stats: told how each call went.
    """

    def __init__(
        self, catalog: Callable[[], Catalog], providers: Mapping[str, Provider], stats: DeploymentStats
    ) -> None:
        self._catalog = catalog
        self._stats = stats
        self._providers = providers
        self._rng = random.Random()

    async def run(self, job: Job, stream: DeltaStream) -> Finish | Requeue:
        """Run one attempt and return the move it leads to; never raises but for cancellation."""
        deployment = self._catalog().deployment_for(job.model)
        try:
            reply = await self._call(job, deployment, stream)
        except ProviderError as error:
            return self._failed(job, deployment, stream, error)
        except Exception as error:  # noqa: BLE001 - one broken job must not break the others
            # A defect of ours in one job's path must not take the others down; the job says so and may be tried again.
            _log.exception("attempt_broke", job_id=ids.encode(ids.JOB, job.id))
            broken = ProviderError("internal_error", f"The worker failed: {type(error).__name__}.", retryable=True)
            return self._failed(job, deployment, stream, broken)
        assert deployment is not None  # noqa: S101 - a reply came from somewhere
        return self._succeeded(job, deployment, stream, reply)

    async def _call(self, job: Job, deployment: Deployment | None, stream: DeltaStream) -> Reply:
        if deployment is None or not deployment.serves(job.endpoint):
            raise ProviderError(
                "unknown_model", f"No deployment serves {job.model} on {job.endpoint}.", retryable=True,
                retry_after_s=_UNKNOWN_MODEL_PAUSE_S,
            )  # fmt: skip
        call = Call(
            deployment=deployment,
            endpoint=job.endpoint,
            body=orjson.loads(job.body),
            stream=job.stream,
            timeout_s=job.timeout_s,
            headers=_headers(job),
        )
        on_delta: Callable[[Delta], None] | None = stream.add if job.stream else None
        self._stats.began(deployment.name)
        began = time.monotonic()
        try:
            reply = await self._providers[deployment.provider].call(call, on_delta)
        except ProviderError as error:
            error.upstream_ms = (time.monotonic() - began) * 1000
            if error.retryable:
                self._stats.failed(deployment.name)
            raise
        finally:
            self._stats.ended(deployment.name)
        self._stats.answered(deployment.name, reply.timing)
        return reply

    def _succeeded(self, job: Job, deployment: Deployment, stream: DeltaStream, reply: Reply) -> Finish | Requeue:
        try:
            result = orjson.dumps(reply.body).decode()
        except (TypeError, ValueError):
            error = ProviderError("bad_reply", "The upstream's answer is not valid JSON.", retryable=True)
            return self._failed(job, deployment, stream, error)
        _measure(job, deployment, reply)
        usage = None
        if reply.usage is not None:
            usage = {
                "input_tokens": reply.usage.input_tokens,
                "output_tokens": reply.usage.output_tokens,
                "cached_tokens": reply.usage.cached_tokens,
                "total_tokens": reply.usage.total_tokens,
            }
        return Finish(
            job.id,
            job.lease_no,
            "succeeded",
            stream.last_seq,
            result=result,
            usage=_json(usage),
            route=_json(_route(job, deployment)),
            timing=_json(_timing(job, reply.timing)),
            deployment=deployment.name,
            ttft_ms=reply.timing.ttft_ms,
            batch_size=job.batch_size,
            plain=job.plain,
        )

    def _failed(
        self, job: Job, deployment: Deployment | None, stream: DeltaStream, error: ProviderError
    ) -> Finish | Requeue:
        again = error.retryable and job.attempt < job.max_attempts
        ATTEMPTS.labels(job.model, "retried" if again else "failed", error.code).inc()
        name = deployment.name if deployment else None
        details = _error(error.code, error.message, error)
        if again:
            delay = retry_delay(job.attempt, retry_after=error.retry_after_s, rng=self._rng)
            return Requeue(
                job.id, job.lease_no, "retried", error.code, stream.last_seq, delay_s=delay, reset=stream.streamed,
                error=_json(details), deployment=name, batch_size=job.batch_size,
            )  # fmt: skip
        ending, own = details, None
        if error.retryable:
            tries = "1 attempt" if job.attempt == 1 else f"{job.attempt} attempts"
            message = f"Gave up after {tries}; the last one: {error.code}: {error.message}"
            ending, own = _error("attempts_exhausted", message, error), details
        timing = _timing(job, UpstreamTiming(upstream_ms=error.upstream_ms))
        return Finish(
            job.id, job.lease_no, "failed", stream.last_seq, error=_json(ending), attempt_error=_json(own),
            route=_json(_route(job, deployment)) if deployment else None, timing=_json(timing),
            deployment=name, batch_size=job.batch_size, plain=job.plain,
        )  # fmt: skip


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _headers(job: Job) -> dict[str, str]:
    headers = {"x-coatcheck-job-id": ids.encode(ids.JOB, job.id)}
    if job.traceparent:
        headers["traceparent"] = child_traceparent(job.traceparent)
    return headers


def _error(code: str, message: str, error: ProviderError) -> dict[str, Any]:
    # Postgres keeps no NUL in jsonb, whatever an upstream put into its message.
    clean = message.replace("\x00", "").encode("utf-8", "replace").decode()
    return {"code": code, "message": clean, "retryable": error.retryable, "upstream_status": error.upstream_status}


def _route(job: Job, deployment: Deployment) -> dict[str, Any]:
    return {
        "model": deployment.upstream_model or deployment.model,
        "deployment": deployment.name,
        "region": deployment.region,
        "tier": None,
        "reason": f"{deployment.name} is the deployment of {job.model}",
        "fallbacks": [],
    }


def _timing(job: Job, upstream: UpstreamTiming) -> dict[str, Any]:
    queued, running = job.queued_ms, job.running_ms()
    spent = upstream.upstream_ms or 0.0
    timing = {
        "queued_ms": queued,
        "batch_size": job.batch_size,
        "connect_ms": upstream.connect_ms,
        "ttft_ms": upstream.ttft_ms,
        "itl_ms": upstream.itl_ms,
        "tokens_per_s": upstream.tokens_per_s,
        "upstream_ms": upstream.upstream_ms,
        # What the caller waited for besides the upstream: the honest meaning of overhead.
        "overhead_ms": max(0.0, queued + running - spent),
        "total_ms": queued + running,
    }
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
