"""POST /v1/jobs: the hot path."""

import time
from contextlib import nullcontext
from typing import Final
from uuid import UUID

import orjson

from api import idempotency
from api.answers import Answer
from api.auth import JOBS_WRITE
from api.caching import answered, cache_header, cache_options, hit_row
from api.limits import place
from api.new_job import fresh_row, new_job, rendered
from api.observe import accepted_jobs
from api.problems import Problem
from api.routing import Call, needs
from api.schemas.job_request import JobRequest, check
from api.waiting import Row, preferred_wait, until_ended
from core import ids
from core.lifecycle import TERMINAL
from core.store.accept import Accepted, NewJob
from core.store.cached import Hit
from core.store.reading import read_job

_VARY = (b"vary", b"prefer")
_REPLAYED = (b"idempotent-replayed", b"true")
# A worker that looks for a near answer gives the embedder a second.
_LOOKS_S: Final = 5


@needs(JOBS_WRITE)
async def submit(call: Call) -> Answer:
    """Accept one job: the answer leaves after the commit that makes it durable."""
    services, began = call.services, time.monotonic()
    key = idempotency.key_of(call)
    wait_s = preferred_wait(call)
    payload = await call.json()
    request = check(payload, services.catalog)
    job = new_job(call, request)
    hit = await answered(call, job, request.body, cache_options(request), began)
    if key is not None:
        job.idempotency_key, job.fingerprint = key, idempotency.fingerprint("job", payload)
    if hit is not None:
        hit.idempotency_key, hit.fingerprint = job.idempotency_key, job.fingerprint
        return await _store_hit(call, hit, wait_s)
    return await _queue(call, job, request, wait_s)


async def _store_hit(call: Call, hit: Hit, wait_s: int | None) -> Answer:
    """Store a job that the cache has answered, and answer with it."""
    services = call.services
    with idempotency.accepting(call, hit.idempotency_key):
        accepted = await services.hits.submit(hit)
    if accepted.created_at is None:
        return await _replay(call, accepted, wait_s)
    accepted_jobs(hit.lane).inc()
    return _answer(call, hit_row(hit, accepted.created_at), wait_s)


async def _queue(call: Call, job: NewJob, request: JobRequest, wait_s: int | None) -> Answer:
    """Store a job, let workers know, and wait for its end if that was asked for."""
    services = call.services
    # Only a worker can tell whether there is an answer, and the caller wants to know that and not to wait for one.
    only = request.cache is not None and request.cache.mode == "only" and job.run_at is None
    hold_s = max(wait_s or 0, _LOOKS_S) if only else wait_s
    # Watching starts before the commit, so that even the fastest end is not missed.
    with services.hub.watch(job.tenant_id, job.id) if hold_s else nullcontext() as watch:
        room = place(services.accounts, services.catalog, call.key, call.head, job, request.body)
        with idempotency.accepting(call, job.idempotency_key):
            async with room as taken:
                accepted = await services.committer.submit(job)
                if accepted.created_at is not None:
                    taken.keep()
        if accepted.created_at is None:
            return await _replay(call, accepted, wait_s)
        accepted_jobs(job.lane).inc()
        if job.run_at is None:
            services.announcer.work(job.lane)
            services.doorbell.ring(job.lane)
        row: Row = fresh_row(job, accepted.created_at)
        if watch is not None and hold_s:
            row = await until_ended(call, watch, job.id, hold_s, fresh=True) or row
    if only and _missed(row):
        raise Problem("cache_miss")
    return _answer(call, row, wait_s)


def _missed(row: Row) -> bool:
    return row["status"] == "failed" and row["error"] is not None and orjson.loads(row["error"])["code"] == "cache_miss"


async def _replay(call: Call, accepted: Accepted, wait_s: int | None) -> Answer:
    """Answer with the job that the key stands for."""
    if accepted.conflict or accepted.original is None:
        raise idempotency.mismatch()
    row = await _read_or_wait(call, accepted.original, wait_s)
    if row is None:
        raise idempotency.deleted("job")
    return _answer(call, row, wait_s, replayed=True)


async def _read_or_wait(call: Call, job: UUID, wait_s: int | None) -> Row | None:
    services = call.services
    if not wait_s:
        return await read_job(services.engine, call.key.tenant_id, job)
    with services.hub.watch(call.key.tenant_id, job) as watch:
        return await until_ended(call, watch, job, wait_s)


def _answer(call: Call, row: Row, wait_s: int | None, *, replayed: bool = False) -> Answer:
    location = b"/v1/jobs/" + ids.encode(ids.JOB, row["id"]).encode()
    headers = [(b"location", location), _VARY]
    if wait_s is not None:
        headers.append((b"preference-applied", b"wait=%d" % wait_s))
    if replayed:
        headers.append(_REPLAYED)
    status = 202
    if row["status"] in TERMINAL:
        status = 200
        headers.append(cache_header(row))
    return Answer(status, rendered(row, call.services.public_url), headers)
