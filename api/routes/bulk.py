"""POST /v1/jobs/bulk: many jobs, all or none, as a JSON array or line by line."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from api import idempotency
from api.answers import Answer
from api.auth import JOBS_WRITE
from api.caching import cache_options, rules_of
from api.edge.body import check_length, check_media, chunks, read, size
from api.limits import places
from api.new_job import new_job
from api.observe import accepted_jobs
from api.problems import Fault, Problem
from api.routes.groups import group_answer
from api.routing import JSON, Call, needs
from api.schemas.job_request import check
from api.strict_json import parse, parse_body, parse_items
from core import ids
from core.cache import plan_beside
from core.store.accept import NewJob
from core.store.bulk import accept_group
from core.store.reading import read_group

NDJSON: Final = b"application/x-ndjson"
_SLICE: Final = 50
_MAX_FAULTS: Final = 10_000


@dataclass(slots=True)
class _Batch:
    """Jobs checked so far, and everything that was wrong with them."""

    call: Call
    group: Any = field(default_factory=ids.new_id)
    jobs: list[NewJob] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    malformed: bool = True
    seen: int = 0
    digest: Any = field(default_factory=lambda: hashlib.sha256(b"group\0"))

    async def add(self, item: Any, line: int | None = None) -> None:
        """Check one item; let other requests go on now and then."""
        index = self._next()
        try:
            request = check(item, self.call.services.catalog)
            job = new_job(self.call, request, self.group)
            await plan_beside(job, request.body, cache_options(request), rules_of(self.call, job))
            self.jobs.append(job)
            self.digest.update(orjson.dumps(item, option=orjson.OPT_SORT_KEYS) + b"\n")
        except Problem as problem:
            self._note(index, line, problem)
        if self.seen % _SLICE == 0:
            await asyncio.sleep(0)

    async def add_line(self, raw: bytes, line: int) -> None:
        """Parse and check one line."""
        try:
            item = parse(raw, one_line=True)
        except Problem as problem:
            self._note(self._next(), line, problem)
        else:
            await self.add(item, line)

    def _next(self) -> int:
        limit = self.call.services.api.max_bulk_jobs
        self.seen += 1
        if self.seen > limit:
            raise Problem("invalid_request", f"At most {limit} jobs are accepted at once.")
        return self.seen - 1

    def _note(self, index: int, line: int | None, problem: Problem) -> None:
        self.codes.add(problem.code)
        self.malformed = self.malformed and problem.kind.status == 400
        for fault in problem.errors or [Fault("", problem.detail)]:
            if len(self.faults) < _MAX_FAULTS:
                self.faults.append(
                    Fault(f"/{index}{fault.pointer}", fault.detail, line if line is not None else index + 1)
                )
        self.jobs.clear()  # nothing of this request will be stored: keep the memory for others

    def verdict(self) -> None:
        """Refuse the whole when anything in it is wrong.

        Raises:
            Problem: the one problem all items share, else 422.
        """
        if self.faults:
            code = (
                next(iter(self.codes))
                if len(self.codes) == 1
                else "invalid_json"
                if self.malformed
                else "invalid_request"
            )
            wrong = len({fault.line for fault in self.faults})
            detail = f"Nothing was accepted: {wrong} of {self.seen} jobs {'is' if wrong == 1 else 'are'} not valid."
            raise Problem(code, detail, errors=self.faults)
        if not self.seen:
            raise Problem("invalid_request", "There are no jobs in the body.")


async def _lines(batch: _Batch) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the lines of the body as they arrive, with their numbers from 1."""
    call, number = batch.call, 1
    services = call.services
    longest = services.limits.max_bytes
    rest = bytearray()
    async for chunk in chunks(call.receive, call.head.headers, services.bulk_limits):
        *whole, tail = chunk.split(b"\n")
        for part in whole:
            rest += part
            if len(rest) > longest:
                break
            yield number, bytes(rest)
            rest.clear()
            number += 1
        rest += tail
        if len(rest) > longest:
            fault = Fault(f"/{batch.seen}", f"May have at most {size(longest)}.", number)
            detail = f"Line {number} is too long: a line may have at most {size(longest)}."
            raise Problem("body_too_large", detail, errors=[fault], close=True)
    if rest:
        yield number, bytes(rest)


async def _read_batch(call: Call) -> _Batch:
    batch = _Batch(call)
    headers = call.head.headers
    check_length(headers, call.services.bulk_limits)
    if check_media(headers, NDJSON, JSON) == NDJSON:
        async for number, raw in _lines(batch):
            if raw.strip():
                await batch.add_line(raw, number)
        return batch
    items = await parse_body(await read(call.receive, headers, call.services.bulk_limits), parse_items)
    if not isinstance(items, list):
        raise Problem("invalid_request", "The body must be a JSON array of job requests.")
    for item in items:
        await batch.add(item)
    return batch


@needs(JOBS_WRITE)
async def submit_bulk(call: Call) -> Answer:
    """Accept many jobs in one transaction, or name everything that is wrong with them."""
    services = call.services
    key = idempotency.key_of(call)
    large = int(call.head.headers.get(b"content-length", b"1000000000")[:18]) > services.limits.max_bytes
    async with services.bulk_turn if large else nullcontext():
        batch = await _read_batch(call)
        batch.verdict()
        room = places(services.accounts, call.key, call.head, batch.group.hex, batch.jobs)
        with idempotency.accepting(call, key):
            async with room as taken:
                accepted = await accept_group(
                    services.engine,
                    call.key.tenant_id,
                    batch.group,
                    batch.jobs,
                    idempotency_key=key,
                    fingerprint=batch.digest.digest(),
                )
                if not accepted.conflict and accepted.original is None:
                    taken.keep()
    if accepted.conflict:
        raise idempotency.mismatch()
    group = accepted.original or batch.group
    headers = [(b"location", b"/v1/groups/" + ids.encode(ids.GROUP, group).encode())]
    if accepted.original is not None:
        if await read_group(services.engine, call.key.tenant_id, group) is None:
            raise idempotency.deleted("group")
        headers.append((b"idempotent-replayed", b"true"))
    else:
        for job in batch.jobs:
            accepted_jobs(job.lane).inc()
        for lane in {job.lane for job in batch.jobs if job.run_at is None}:
            services.doorbell.ring(lane)
    return await group_answer(call, group, 202, headers)
