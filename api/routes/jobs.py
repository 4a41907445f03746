"""Reading jobs and moving them: get, list, attempts, cancel, retry, delete."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import PydanticCustomError

from api.answers import Answer, json_answer
from api.auth import JOBS_READ, JOBS_WRITE
from api.caching import cache_header
from api.lookup import page_answer, page_size, path_id, query_id
from api.new_job import rendered
from api.problems import Problem, invalid_query, not_found
from api.routing import Call, needs
from api.schemas.job_request import ENDPOINTS, moment
from api.waiting import Row, until_ended, wait_parameter
from core import ids
from core.lifecycle import TERMINAL, Status
from core.render import render_attempt, render_job
from core.settings import JOB_LANES
from core.store.listing import JobFilter, list_jobs
from core.store.moves import cancel_jobs, delete_job, resubmit
from core.store.reading import read_attempts, read_job

_POLL_AFTER = ((b"retry-after", b"1"), (b"openai-poll-after-ms", b"1000"))
_NO_STORE = (b"cache-control", b"no-store")


async def _job(call: Call, job: UUID) -> Row:
    row = await read_job(call.services.engine, call.key.tenant_id, job)
    if row is None:
        raise not_found("job")
    return row


@needs(JOBS_READ)
async def get_job(call: Call) -> Answer:
    """Return one job, at once or when it has ended."""
    job = path_id(call, ids.JOB, "job")
    wait_s = wait_parameter(call.query("wait"))
    row: Row | None
    if wait_s:
        with call.services.hub.watch(call.key.tenant_id, job) as watch:
            row = await until_ended(call, watch, job, wait_s)
    else:
        row = await read_job(call.services.engine, call.key.tenant_id, job)
    if row is None:
        raise not_found("job")
    etag = f'W/"{job.hex}-{row["version"]}"'
    headers = [(b"etag", etag.encode()), _NO_STORE]
    if row["status"] in TERMINAL:
        headers.append(cache_header(row))
    else:
        headers.extend(_POLL_AFTER)
    if _matches(call.header(b"if-none-match"), etag):
        return Answer(304, headers=headers)
    return Answer(200, rendered(row, call.services.public_url, row["queue_position"]), headers)


def _matches(condition: str | None, etag: str) -> bool:
    if condition is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in known or etag.removeprefix("W/") in known


@needs(JOBS_READ)
async def get_jobs(call: Call) -> Answer:
    """Return a page of jobs, newest first."""
    query = call.query(
        "limit", "after", "status", "lane", "endpoint", "model", "group_id", "schedule_id", "created_after", "created_before",
        "metadata[",
    )  # fmt: skip
    limit = page_size(query)
    wanted = _filter(query)
    after = query_id(query, "after", ids.JOB)
    services = call.services
    rows = await list_jobs(services.engine, call.key.tenant_id, wanted, after=after, limit=limit + 1)
    return page_answer(rows, limit, lambda row: _in_list(row, services.public_url), [_NO_STORE])


def _in_list(row: Row, public_url: str) -> dict[str, Any]:
    job = render_job(row, public_url)
    if row["result_omitted"]:
        job["result_omitted"] = True
    return job


def _filter(query: dict[str, str]) -> JobFilter:
    metadata = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[")}
    return JobFilter(
        status=_one_of(query, "status", tuple(Status)),
        lane=_one_of(query, "lane", JOB_LANES),
        endpoint=_one_of(query, "endpoint", ENDPOINTS),
        model=query.get("model"),
        group_id=query_id(query, "group_id", ids.GROUP),
        schedule_id=query_id(query, "schedule_id", ids.SCHEDULE),
        created_after=_moment(query, "created_after"),
        created_before=_moment(query, "created_before"),
        metadata=metadata or None,
    )


def _one_of(query: dict[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in known:
        raise invalid_query(name, f"{name} is one of {', '.join(known)}.")
    return value


def _moment(query: dict[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    try:
        return moment(query[name])
    except PydanticCustomError:
        raise invalid_query(name, f"{name} is a time such as 2026-11-20T08:00:00Z.") from None


@needs(JOBS_READ)
async def get_attempts(call: Call) -> Answer:
    """Return the attempts of a job, oldest first."""
    job = path_id(call, ids.JOB, "job")
    call.query()
    rows = await read_attempts(call.services.engine, call.key.tenant_id, job)
    if not rows:
        await _job(call, job)
    data = [render_attempt(row) for row in rows]
    return json_answer({"object": "list", "data": data, "has_more": False, "first_id": None, "last_id": None})


@needs(JOBS_WRITE)
async def cancel_job(call: Call) -> Answer:
    """Cancel a job that has not ended; one that has stays as it is."""
    job = path_id(call, ids.JOB, "job")
    await call.no_body()
    services = call.services
    cancelled = await cancel_jobs(services.engine, call.key.tenant_id, [job], services.public_url)
    services.announcer.cancelled(cancelled.running)
    services.announcer.moved(cancelled.ended.jobs)
    if cancelled.ended.deliveries:
        services.doorbell.ring("webhooks")
    for lane in cancelled.ended.lanes:
        services.announcer.work(lane)
        services.doorbell.ring(lane)
    return Answer(200, rendered(await _job(call, job), services.public_url))


@needs(JOBS_WRITE)
async def retry_job(call: Call) -> Answer:
    """Queue a failed, cancelled or expired job again."""
    job = path_id(call, ids.JOB, "job")
    await call.no_body()
    services = call.services
    lane = await resubmit(services.engine, call.key.tenant_id, job, services.public_url)
    row = await _job(call, job)
    if lane is None:
        raise Problem(
            "invalid_state", f"The job is {row['status']}; only failed, cancelled and expired jobs can be retried."
        )
    services.announcer.moved([job])
    services.announcer.work(lane)
    services.doorbell.ring(lane)
    return Answer(200, rendered(row, services.public_url))


@needs(JOBS_WRITE)
async def remove_job(call: Call) -> Answer:
    """Delete an ended job and all that tells of it."""
    job = path_id(call, ids.JOB, "job")
    await call.no_body()
    if not await delete_job(call.services.engine, call.key.tenant_id, job):
        row = await _job(call, job)
        raise Problem("invalid_state", f"The job is {row['status']}; cancel it before deleting it.")
    call.services.announcer.moved([job])
    return Answer(204)
