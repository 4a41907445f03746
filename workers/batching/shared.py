"""One upstream call for several jobs: made, and its outcome given to each."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from policies.batching import Unsplittable, merge, split
from workers.providers.protocol import Call, Provider, ProviderError, Reply
from workers.providers.reading import bad_reply
from workers.providers.shape import usage_of

_JOB_HEADER: Final = "x-coatcheck-job-id"
_JOBS_NAMED: Final = 8


async def ask(inner: Provider, calls: Sequence[Call]) -> list[Reply]:
    """Make one call for `calls`, which have the same merge key, and return each one's answer.

    Raises:
        ProviderError: of the call as a whole.
        Unsplittable: there was an answer, but not one for each item.
    """
    endpoint, bodies = calls[0].endpoint, [call.body for call in calls]
    whole = await inner.call(_joined(calls), None)
    parts = split(endpoint, whole.body, bodies)
    count = len(calls)
    return [Reply(body, usage_of(body), replace(whole.timing), whole.limits, merged=count) for body in parts]


def failure_of(error: Exception, jobs: int) -> Exception:
    """What a job is told when the call that it shared with others failed as a whole; each job gets an error of its own.

    What the upstream said is not repeated: it may quote the other jobs.
    """
    if isinstance(error, Unsplittable):
        found = bad_reply(str(error))
    elif isinstance(error, ProviderError):
        said = error.upstream_status is not None
        message = (
            f"upstream answered {error.upstream_status} to a call that {jobs} jobs shared" if said else error.message
        )
        found = ProviderError(
            error.code,
            message,
            retryable=error.retryable,
            retry_after_s=error.retry_after_s,
            upstream_status=error.upstream_status,
            limits=error.limits,
        )
    else:
        return error
    found.merged = jobs
    return found


def _joined(calls: Sequence[Call]) -> Call:
    # Each job's own limit is watched where it waits, so the call may take as long as the most patient of them.
    first = calls[0]
    return replace(
        first,
        body=merge(first.endpoint, [call.body for call in calls]),
        stream=False,
        timeout_s=max(call.timeout_s for call in calls),
        headers=_headers(calls),
    )


def _headers(calls: Sequence[Call]) -> dict[str, str]:
    """The first job's, its trace too; of the jobs' ids as many as a log line bears."""
    headers = dict(calls[0].headers)
    named = [call.headers[_JOB_HEADER] for call in calls[:_JOBS_NAMED] if _JOB_HEADER in call.headers]
    if named:
        more = [f"+{len(calls) - _JOBS_NAMED}"] if len(calls) > _JOBS_NAMED else []
        headers[_JOB_HEADER] = ", ".join(named + more)
    return headers
