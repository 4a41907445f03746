"""The lines of batch files: requests out, answers in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from core import ids
from core.direct import Row
from policies.catalog import BATCHABLE, Deployment
from workers.providers import errors, reading
from workers.providers.protocol import ProviderError

_EXPIRED = "batch_expired"
_CANCELLED = "batch_cancelled"
# As far as the column goes: the database would refuse to look for any other.
_LAST_LEASE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: a body, or an error."""

    job_id: UUID
    lease_no: int
    body: Any = None
    error: ProviderError | None = None


def fits(deployment: Deployment, endpoint: str, *, stream: bool) -> bool:
    """Whether a job can go through the deployment's Batch API. Who streams wants to see the answer grow."""
    return not stream and endpoint in BATCHABLE and deployment.serves(endpoint)


def request_line(row: Row, deployment: Deployment) -> bytes:
    """A job's line, named after the job and the lease under which it runs. Raises ProviderError for what JSON can't hold."""
    body = {**orjson.loads(row.body), "model": deployment.upstream_model}
    body.pop("stream", None)
    body.pop("stream_options", None)
    line = {"custom_id": name_of(row.id, row.lease_no), "method": "POST", "url": row.endpoint, "body": body}
    try:
        return orjson.dumps(line)
    except orjson.JSONEncodeError:
        raise ProviderError("invalid_request", "the body cannot be sent as JSON", retryable=False) from None


def name_of(job_id: UUID, lease_no: int) -> str:
    """`custom_id` of a job under a lease."""
    return f"{ids.encode(ids.JOB, job_id)}:{lease_no}"


def whose(custom_id: Any) -> tuple[UUID, int] | None:
    """The job and the lease number that a `custom_id` names; None if it is none of ours."""
    if not isinstance(custom_id, str):
        return None
    name, _, lease = custom_id.partition(":")
    try:
        owner = ids.decode(ids.JOB, name), int(lease)
    except ValueError:
        return None
    return owner if 0 < owner[1] <= _LAST_LEASE else None


def read_answer(line: bytes, secret: str | None) -> Answer | None:
    """What a line of an output or error file says; None for one that names none of our jobs."""
    try:
        told = reading.parse(line)
    except ProviderError:
        return None
    owner = whose(told.get("custom_id")) if isinstance(told, dict) else None
    if owner is None:
        return None
    job_id, lease_no = owner
    response = told.get("response")
    if isinstance(response, dict) and type(response.get("status_code")) is int:
        status, body = response["status_code"], response.get("body")
        if status // 100 == 2:
            return Answer(job_id, lease_no, body=body)
        return Answer(job_id, lease_no, error=errors.from_status(status, {}, body, secret))
    return Answer(job_id, lease_no, error=_line_error(told.get("error"), secret))


def _line_error(error: Any, secret: str | None) -> ProviderError:
    code = error.get("code") if isinstance(error, Mapping) else None
    if code == _EXPIRED:
        return ProviderError("upstream_timeout", "the batch ran out of time before this request", retryable=True)
    if code == _CANCELLED:
        return ProviderError("upstream_error", "the batch was cancelled at the upstream", retryable=True)
    if error:
        return errors.in_band(error, secret)
    return reading.bad_reply("a line of the batch holds neither an answer nor an error")


def owner_of(line: bytes) -> tuple[UUID, int] | None:
    """The job and the lease number of a request line."""
    try:
        told = reading.parse(line)
    except ProviderError:
        return None
    return whose(told.get("custom_id")) if isinstance(told, dict) else None


def refused(message: str, secret: str | None) -> ProviderError:
    """The upstream named this line as one that kept it from taking the batch.

    Whether it counts lines from one as we do is its word against the job's: so the job is tried again, and fails for good only
    when it was named each time.
    """
    shown = errors.sanitise(message, secret)
    return ProviderError("upstream_error", f"the upstream refused the batch for this line: {shown}", retryable=True)
